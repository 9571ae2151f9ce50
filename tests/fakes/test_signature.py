from tests.fakes.signature import signature

#: AWS's published test suite for Signature Version 4 uses these throughout.
SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
SCOPE = ("20150830", "us-east-1", "service")
HEADERS = {"host": "example.amazonaws.com", "x-amz-date": "20150830T123600Z"}


def sign(method, path, query="", headers=HEADERS, body=b""):
    return signature(
        method, path, query, headers, body, secret=SECRET, scope=SCOPE, signed=";".join(headers)
    )


def test_get_vanilla():
    expected = "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"

    assert sign("GET", "/") == expected


def test_post_vanilla():
    expected = "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"

    assert sign("POST", "/") == expected


def test_post_x_www_form_urlencoded():
    headers = {"content-type": "application/x-www-form-urlencoded", **HEADERS}
    expected = "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a"

    assert sign("POST", "/", headers=headers, body=b"Param1=value1") == expected
