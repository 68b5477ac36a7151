import pytest
from pydantic import ValidationError

from streams.settings import KafkaSettings

LOGIN = {"sasl_username": "me", "sasl_password": "secret"}
SECRET = "the secret of tests"
TOKENS = {
    "security_protocol": "SASL_SSL",
    "sasl_mechanism": "OAUTHBEARER",
    "oauth_token_url": "https://issuer.example/token",
    "oauth_client_id": "me",
    "oauth_client_secret": SECRET,
}


@pytest.mark.parametrize(
    "given",
    [
        LOGIN | {"security_protocol": "SASL_SSL"},
        LOGIN | {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "SCRAM-SHA-256"},
        {"security_protocol": "SSL", "cert_file": "c.pem"},
        {"security_protocol": "SSL", "cert_file": "c.pem", "key_file": "k", "key_password": "p"},
        LOGIN | {"security_protocol": "SASL_SSL", "cert_file": "c.pem"},
        TOKENS,
        TOKENS | {"oauth_token_url": "http://127.0.0.1:1/token"},
        TOKENS | {"oauth_token_url": "http://localhost:1/token"},
        {
            "security_protocol": "SASL_SSL",
            "sasl_mechanism": "OAUTHBEARER",
            "token_provider": "mine",
            "token_provider_options": {"key": "value"},
        },
    ],
)
def test_complete_login_is_valid(given: dict[str, object]) -> None:
    KafkaSettings.model_validate(given)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"security_protocol": "SASL_SSL"}, "SASL_SSL with PLAIN needs sasl_username and sasl_pas"),
        (
            {"security_protocol": "SASL_SSL", "sasl_username": "me"},
            "SASL_SSL with PLAIN needs sasl_password",
        ),
        (TOKENS | {"oauth_client_secret": None}, "OAUTHBEARER .*needs oauth_client_secret"),
        (TOKENS | {"token_provider": "mine"}, "exclude each other"),
        (TOKENS | {"oauth_token_url": "http://issuer.example/token"}, "only https is allowed"),
        (TOKENS | {"oauth_token_url": "file:///etc/passwd"}, "only https is allowed"),
        (TOKENS | {"oauth_token_url": "https://a:b/c@issuer.example"}, "is not a URL"),
        ({"cert_file": "c.pem"}, "cert_file needs security_protocol SSL or SASL_SSL"),
        ({"security_protocol": "SSL", "key_file": "k.pem"}, "key_file needs cert_file"),
        ({"security_protocol": "SSL", "key_password": "p"}, "key_password needs cert_file"),
        ({"client_id": ""}, "client_id"),
    ],
)
def test_incomplete_login_is_rejected_with_the_missing_setting(
    given: dict[str, object], text: str
) -> None:
    with pytest.raises(ValidationError, match=text) as caught:
        KafkaSettings.model_validate(given)
    assert SECRET not in str(caught.value.errors(include_input=False))
