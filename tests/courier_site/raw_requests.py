"""Requests that some read one way and some another, by what is odd about each."""

HOST = b"host: here\r\n"
GET = b"GET / HTTP/1.1\r\n" + HOST
POST = b"POST / HTTP/1.1\r\n" + HOST
CHUNKED = POST + b"transfer-encoding: chunked\r\n\r\n"
SECOND = b"GET /second HTTP/1.1\r\nhost: here\r\n\r\n"

#: What no value may hold. A tab may stand in one, and 0x80 to 0xff are parts of UTF-8.
CONTROLS = [*range(0x09), *range(0x0A, 0x20), 0x7F]

#: Where a body ends is what smuggling is about.
LENGTHS = {
    "length and chunks": POST
    + b"content-length: 6\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"
    + SECOND,
    "chunks and length": POST
    + b"transfer-encoding: chunked\r\ncontent-length: 6\r\n\r\n0\r\n\r\n"
    + SECOND,
    "two lengths": POST + b"content-length: 5\r\ncontent-length: 6\r\n\r\nabcdef",
    "a length twice": POST + b"content-length: 5\r\ncontent-length: 5\r\n\r\nabcde",
    "a list of lengths": POST + b"content-length: 5, 5\r\n\r\nabcde",
    "a length with a sign": POST + b"content-length: +5\r\n\r\nabcde",
    "a negative length": POST + b"content-length: -5\r\n\r\nabcde",
    "a hexadecimal length": POST + b"content-length: 0x5\r\n\r\nabcde",
    "a length beyond numbers": POST + b"content-length: " + b"9" * 23 + b"\r\n\r\nabcde",
    "a length with a gap": POST + b"content-length: 5 5\r\n\r\nabcde",
    "an empty length": POST + b"content-length: \r\n\r\n",
    "chunked twice": POST + b"transfer-encoding: chunked\r\n" * 2 + b"\r\n0\r\n\r\n" + SECOND,
    "identity": POST + b"transfer-encoding: identity\r\n\r\n" + SECOND,
    "chunked, identity": POST + b"transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n" + SECOND,
    "gzip, chunked": POST + b"transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "xchunked": POST + b"transfer-encoding: xchunked\r\n\r\n0\r\n\r\n" + SECOND,
    "chunked behind a tabulator": POST + b"transfer-encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
    "chunked in 1.0": b"POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n" + SECOND,
    "a chunk without its end": CHUNKED + b"5\r\nabcdeX\r\n0\r\n\r\n",
    "a chunk behind a line feed": CHUNKED + b"5\nabcde\r\n0\r\n\r\n",
    "a chunk before a line feed": CHUNKED + b"5\r\nabcde\n0\r\n\r\n",
    "a chunk of 0x5": CHUNKED + b"0x5\r\nabcde\r\n0\r\n\r\n",
    "a chunk of -5": CHUNKED + b"-5\r\nabcde\r\n0\r\n\r\n",
    "a chunk beyond numbers": CHUNKED + b"f" * 17 + b"\r\nabcde\r\n0\r\n\r\n",
    "a chunk of 5 and a blank": CHUNKED + b"5 \r\nabcde\r\n0\r\n\r\n",
    "an extension with a line feed": CHUNKED + b"5;a\nb\r\nabcde\r\n0\r\n\r\n",
}

FIELDS = {
    "a folded field": GET + b"x: a\r\n b\r\n\r\n",
    "a blank before the colon": GET + b"x : a\r\n\r\n",
    "a blank before the first field": b"GET / HTTP/1.1\r\n x: a\r\n" + HOST + b"\r\n",
    "no colon": GET + b"x\r\n\r\n",
    "no name": GET + b": a\r\n\r\n",
    "a line feed alone": b"GET / HTTP/1.1\nhost: here\n\n",
    "a line feed in the head": GET + b"x: b\n\r\n",
    "a carriage return alone": b"GET / HTTP/1.1\r\nhost: here\rx: b\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": GET + b"host: there\r\n\r\n",
    "the host twice": GET + HOST + b"\r\n",
    "a host with a blank": b"GET / HTTP/1.1\r\nhost: here there\r\n\r\n",
    "a host with a path": b"GET / HTTP/1.1\r\nhost: here/x?\r\n\r\n",
    "a host with somebody": b"GET / HTTP/1.1\r\nhost: me@here\r\n\r\n",
    "a host longer than any name": b"GET / HTTP/1.1\r\nhost: %s\r\n\r\n" % (b"h" * 260),
    **{
        f"0x{each:02x} in a value": GET + b"x: a" + bytes([each]) + b"b\r\n\r\n"
        for each in CONTROLS
        if each not in {0x0A, 0x0D}
    },
    **{
        f"0x{each:02x} in a name": GET + b"x" + bytes([each]) + b"b: a\r\n\r\n"
        for each in (0x00, 0x01, 0x09, 0x20, 0x28, 0x40, 0x7F, 0x85, 0xFF)
    },
}

LINES = {
    "0.9": b"GET /\r\n\r\n",
    "1.2": b"GET / HTTP/1.2\r\n" + HOST + b"\r\n",
    "2.0": b"GET / HTTP/2.0\r\n" + HOST + b"\r\n",
    "HTTP/2's preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a method in small letters": b"get / HTTP/1.1\r\n" + HOST + b"\r\n",
    "tabulators": b"GET\t/\tHTTP/1.1\r\n" + HOST + b"\r\n",
    "a blank in the URL": b"GET /a b HTTP/1.1\r\n" + HOST + b"\r\n",
    "NUL in the URL": b"GET /a\x00b HTTP/1.1\r\n" + HOST + b"\r\n",
    "0xff in the URL": b"GET /a\xffb HTTP/1.1\r\n" + HOST + b"\r\n",
    "a fragment": b"GET /a#b HTTP/1.1\r\n" + HOST + b"\r\n",
    "no slash": b"GET a HTTP/1.1\r\n" + HOST + b"\r\n",
    "another server's URL": b"GET http://there/ HTTP/1.1\r\n" + HOST + b"\r\n",
    "a tunnel": b"CONNECT here:443 HTTP/1.1\r\n" + HOST + b"\r\n",
    "nonsense": b"NONSENSE\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),
}

AMBIGUOUS = {**LENGTHS, **FIELDS, **LINES}
