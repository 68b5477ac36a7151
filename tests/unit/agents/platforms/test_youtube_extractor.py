from agents.platforms.youtube_extractor import PLAYERS_MAX, PlayerCache, YoutubeIE


def test_players_are_shared_and_the_oldest_is_dropped() -> None:
    first, second = YoutubeIE(), YoutubeIE()
    assert first._code_cache is second._code_cache
    players = PlayerCache()
    for number in range(PLAYERS_MAX + 1):
        players[f"player-{number}"] = "code"
    players[f"player-{PLAYERS_MAX}"] = "newer"
    assert list(players) == [f"player-{number}" for number in range(1, PLAYERS_MAX + 1)]
    assert players[f"player-{PLAYERS_MAX}"] == "newer"
