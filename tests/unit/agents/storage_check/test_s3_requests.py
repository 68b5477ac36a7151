from datetime import UTC, datetime

import pytest

from agents.storage_check.s3_requests import Login, signed_headers

EXAMPLE = Login("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
NOW = datetime(2013, 5, 24, tzinfo=UTC)


def test_signature_is_that_of_the_example_in_the_documentation() -> None:
    url = "https://examplebucket.s3.amazonaws.com/?lifecycle"
    headers = signed_headers("GET", url, EXAMPLE, region="us-east-1", now=NOW)
    assert headers["authorization"] == (
        "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, "
        "SignedHeaders=host;x-amz-content-sha256;x-amz-date, "
        "Signature=fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"
    )


def test_query_with_values_is_signed_as_in_the_documentation() -> None:
    url = "https://examplebucket.s3.amazonaws.com/?max-keys=2&prefix=J"
    headers = signed_headers("GET", url, EXAMPLE, region="us-east-1", now=NOW)
    assert headers["authorization"].endswith(
        "Signature=34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"
    )


def test_token_is_sent_and_signed() -> None:
    login = Login(EXAMPLE.key_id, EXAMPLE.secret, "token")
    headers = signed_headers(
        "GET", "http://127.0.0.1:1/clips?lifecycle", login, region="us-east-1", now=NOW
    )
    assert headers["x-amz-security-token"] == "token"
    assert "x-amz-date;x-amz-security-token" in headers["authorization"]


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}, Login("a", "b")),
        (
            {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_SESSION_TOKEN": "c"},
            Login("a", "b", "c"),
        ),
        ({"AWS_ACCESS_KEY_ID": "a"}, None),
        ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, None),
        ({}, None),
    ],
)
def test_login_is_that_of_the_usual_variables(
    variables: dict[str, str], expected: Login | None
) -> None:
    assert Login.from_environment(variables) == expected
