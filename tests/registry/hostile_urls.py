"""URLs of the kinds that have led other gateways to where they should not connect."""

#: Spellings of addresses of this machine, of private networks, and of what holds credentials.
HOSTS = [
    "127.0.0.1", "127.0.0.2", "127.255.255.254", "127.1", "127.0.1", "0", "0.0.0.0", "0.0.0.1",
    "2130706433", "017700000001", "0x7f000001", "0x7f.1", "0x7f.0x0.0x0.0x1", "0177.0.0.1",
    "0177.0.0.0x1", "00177.0.0.1", "127.0.0.01", "127.000.000.001", "127.0.0.0x1", "4294967295",
    "2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "0xa9.254.0251.254", "169.254.43518",
    "10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.255", "192.168.0.1", "192.168.255.254",
    "100.64.0.1", "100.127.255.254", "100.100.100.200", "169.254.169.254", "169.254.170.2",
    "169.254.0.1", "192.0.0.1", "192.0.0.192", "192.0.2.1", "198.18.0.1", "198.19.255.255",
    "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255",
    "[::]", "[::1]", "[0:0:0:0:0:0:0:1]", "[0000:0000:0000:0000:0000:0000:0000:0001]", "[::01]",
    "[::127.0.0.1]", "[::7f00:1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::FFFF:127.0.0.1]",
    "[0:0:0:0:0:ffff:127.0.0.1]", "[::ffff:0:127.0.0.1]", "[::ffff:10.0.0.1]",
    "[::ffff:169.254.169.254]", "[::ffff:a9fe:a9fe]", "[64:ff9b::127.0.0.1]",
    "[64:ff9b::7f00:1]", "[64:ff9b::169.254.169.254]", "[64:ff9b:1::127.0.0.1]",
    "[2002:7f00:1::]", "[2002:a9fe:a9fe::]", "[2002:a00:1::1]", "[2001:0:7f00:1::]",
    "[2001:db8::1]", "[2001::1]", "[100::1]", "[fc00::1]", "[fd00:ec2::254]", "[fe80::1]",
    "[fe80::1%25eth0]", "[fe80::a9fe:a9fe]", "[fec0::1]", "[ff02::1]", "[ff0e::1]", "[3fff::1]",
    "[5f00::1]",
    # Letters and dots that some software reads as others.
    "１２７.0.0.1", "①②⑦.⓪.⓪.①", "127。0。0。1", "127．0．0．1", "ⓛocalhost", "locaｌhost",
    "localhost.", "127.0.0.1.", "169.254.169.254.", "bücher.example", "ехample.com", "xn--.ß",
]  # fmt: skip

#: URLs that two readers may understand differently, or that are none. `{port}` is a listener's.
WHOLE = [
    "", " ", "//127.0.0.1:{port}/v1", "127.0.0.1:{port}/v1", "http:127.0.0.1:{port}",
    "http:/127.0.0.1:{port}", "http:///127.0.0.1:{port}", "http://", "https://:{port}/v1",
    "HTTP://127.0.0.1:{port}/v1", "hTtPs://127.0.0.1:{port}/v1",
    "ftp://127.0.0.1:{port}/", "file:///etc/passwd", "gopher://127.0.0.1:{port}/_GET",
    "dict://127.0.0.1:{port}/", "ldap://127.0.0.1:{port}/", "unix:///run/docker.sock",
    "data:text/plain,hello", "javascript:alert(1)", "ws://127.0.0.1:{port}/", "jar:http://x!/",
    "http://user@127.0.0.1:{port}/", "http://api.example.com@127.0.0.1:{port}/v1",
    "http://api.example.com:80@127.0.0.1:{port}/v1", "http://user:pass@api.example.com/v1",
    "http://:@api.example.com/", "http://127.0.0.1:{port}#@api.example.com/",
    "http://api.example.com#@127.0.0.1:{port}/", "http://api.example.com\\@127.0.0.1:{port}/",
    "http://api.example.com\\.127.0.0.1:{port}/", "http://127.0.0.1:{port}\\@api.example.com/",
    "http://api.example.com /v1", "http:// 127.0.0.1:{port}/", "http://127.0.0.1 :{port}/",
    "http://127.0.0.1\t:{port}/", "http://127.0.0.1\n:{port}/", "\thttp://127.0.0.1:{port}/",
    "http://127.0.0.1%00:{port}/", "http://127.0.0.1\x00.example.com:{port}/",
    "http://api.example.com\r\nHost: 127.0.0.1/", "http://127.0.0.1:{port}\r\nX: y/",
    "http://[::1", "http://::1:{port}/", "http://[::1]]:{port}/", "http://[127.0.0.1]:{port}/",
    "http://[::ffff:127.0.0.1%25lo]:{port}/", "http://127.0.0.1:99999/", "http://127.0.0.1:-1/",
    "http://127.0.0.1:port/", "http://127.0.0.1:{port}:80/",
]  # fmt: skip

#: What a base URL may not have, for paths are added to it. A webhook's URL may.
QUERIES = ["http://api.example.com/?x=http://127.0.0.1", "http://api.example.com/v1?"]

#: Names that are good to look at: what they mean is known when they are looked up.
NAMES = ["http://localhost:{port}/v1", "http://LocalHost:{port}", "https://localhost:{port}/v1"]


def hostile_urls(port=9):
    """All that may not even be entered, with the port of a listener that nobody must reach."""
    by_host = [f"http://{host}:{port}/v1" for host in HOSTS]
    return by_host + [url.replace("{port}", str(port)) for url in WHOLE]


def names_of_this_machine(port):
    """What may be entered and must not be called."""
    return [url.format(port=port) for url in NAMES]
