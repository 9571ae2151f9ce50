"""Forms as they come: what is read of them, and what is not taken for one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import form_copy, forms
from gateway.errors import BadForm
from gateway.form_copy import FormCopy
from gateway.forms import FormFile

TYPE = "multipart/form-data; boundary=xyz"
DISPOSITION = 'Content-Disposition: form-data; name="a"'


def part(*headers, content=b"1"):
    head = "".join(f"{header}\r\n" for header in headers or (DISPOSITION,))
    return b"--xyz\r\n" + head.encode() + b"\r\n" + content + b"\r\n"


def field(name, value):
    return part(f'Content-Disposition: form-data; name="{name}"', content=value.encode())


def file(content, name="speech.mp3", field="file"):
    head = f'Content-Disposition: form-data; name="{field}"; filename="{name}"'
    return part(head, "Content-Type: audio/mpeg", content=content)


END = b"--xyz--\r\n"


def copied(*parts, early=("model", "stream"), cuts=(), content_type=TYPE):
    form = b"".join(parts)
    copy = FormCopy(content_type, early)
    edges = [0, *sorted(cuts), len(form)]
    pieces = zip(edges, edges[1:], strict=False)
    written = b"".join(copy.add(form[start:end]) for start, end in pieces)
    copy.end()
    return copy, written


FORM = (field("model", "whisper"), field("language", "de"), file(b"\r\n--xyz\r\x00\n" * 3), END)


def test_fields_are_read_and_files_are_not():
    copy, _ = copied(*FORM)

    assert copy.fields == {
        "model": "whisper", "language": "de", "file": FormFile("speech.mp3", 30),
    }  # fmt: skip


def test_the_copy_has_all_but_the_model():
    copy, written = copied(*FORM)

    mine = written.replace(copy.boundary.encode(), b"xyz")
    assert mine == b"".join(FORM[1:])


@given(st.lists(st.integers(0, len(b"".join(FORM))), max_size=6))
def test_the_copy_is_the_same_wherever_the_network_cuts(cuts):
    copy, written = copied(*FORM, cuts=cuts)

    assert written.replace(copy.boundary.encode(), b"xyz") == b"".join(FORM[1:])


@given(st.binary(max_size=300), st.data())
def test_every_byte_of_a_file_arrives(content, data):
    form = file(content.replace(b"--xyz", b"--xy"))
    cuts = data.draw(st.lists(st.integers(0, len(form)), max_size=4))

    copy, written = copied(form, END, cuts=cuts)

    assert content.replace(b"--xyz", b"--xy") + b"\r\n--" in written
    assert copy.fields["file"].size == len(content.replace(b"--xyz", b"--xy"))


def test_a_copy_can_be_read_again():
    first, written = copied(*FORM)

    again, _ = copied(
        first.addressed_to("other") + written,
        content_type=f"multipart/form-data; boundary={first.boundary}",
    )

    assert again.fields == {**first.fields, "model": "other"}


def test_of_a_name_that_comes_twice_there_is_a_list():
    copy, _ = copied(field("a", "1"), field("a", "2"), field("a", "3"), END)

    assert copy.fields == {"a": ["1", "2", "3"]}


@pytest.mark.parametrize(
    ("told", "name"),
    [
        ('filename="a.mp3"', "a.mp3"),
        ("filename=a.mp3", "a.mp3"),
        ('filename="ä b.mp3"', "ä b.mp3"),
        ("filename*=UTF-8''%C3%A4.mp3", "ä.mp3"),
        ("filename=\"x.mp3\"; filename*=utf-8''y.mp3", "y.mp3"),
        ('filename="C:\\\\music\\\\a.mp3"', "a.mp3"),
        ('filename="../../etc/passwd"', "passwd"),
        ('filename="say \\"a\\".mp3"', 'say "a".mp3'),
        ('filename="say %22a%22.mp3"', "say %22a%22.mp3"),
        ('filename=""', ""),
    ],
)
def test_the_name_of_a_file_is_read_in_every_form(told, name):
    copy, written = copied(part(f"{DISPOSITION}; {told}"), END)

    assert copy.fields["a"].name == name
    sent = name.replace('"', "%22")
    assert f'name="a"; filename="{sent}"\r\n'.encode() in written


BAD = {
    "nothing": b"",
    "text": b"hello",
    "no end": field("a", "1"),
    "half a delimiter": field("a", "1") + b"--xy",
    "another boundary": b"--abc\r\n" + DISPOSITION.encode() + b"\r\n\r\n1\r\n--abc--\r\n",
    "no headers": b"--xyz\r\n\r\n1\r\n" + END,
    "no name": part("Content-Disposition: form-data") + END,
    "an empty name": part('Content-Disposition: form-data; name=""') + END,
    "an unusual name": part('Content-Disposition: form-data; name="a b"') + END,
    "a long name": field("a" * 65, "1") + END,
    "two names": part(f'{DISPOSITION}; name="b"') + END,
    "an open quote": part('Content-Disposition: form-data; name="a') + END,
    "a parameter that nobody knows": part(f"{DISPOSITION}; size=5") + END,
    "no form data": part('Content-Disposition: attachment; name="a"') + END,
    "two dispositions": part(DISPOSITION, DISPOSITION) + END,
    "a form in a form": part(DISPOSITION, "Content-Type: multipart/mixed; boundary=b") + END,
    "a malformed type": part(DISPOSITION, "Content-Type: what is this") + END,
    "base64": part(DISPOSITION, "Content-Transfer-Encoding: base64") + END,
    "a zero in a header": part(f"{DISPOSITION}; filename=\"a\0b\"") + END,
    "a line end in a name": part(f"{DISPOSITION}; filename*=UTF-8''a%0D%0Ab") + END,
    "a file's name that is not UTF-8": part(f"{DISPOSITION}; filename*=UTF-8''%ff") + END,
    "a file's name that is too long": file(b"", "a" * 256) + END,
    "a field that is not UTF-8": part(content=b"\xff") + END,
    "many headers": part(DISPOSITION, *(f"X-{n}: 1" for n in range(20))) + END,
    "a long header": part(DISPOSITION, "X: " + "x" * 10_000) + END,
    "a header's name that is none": part(DISPOSITION, "X Y: 1") + END,
    "a file that is called model": file(b"whisper", field="model") + END,
}  # fmt: skip


@pytest.mark.parametrize("form", BAD.values(), ids=BAD)
def test_what_is_no_proper_form_is_refused(form):
    with pytest.raises(BadForm):
        copied(form)


@pytest.mark.parametrize("form", BAD.values(), ids=BAD)
def test_it_is_refused_byte_by_byte_too(form):
    with pytest.raises(BadForm):
        copied(form, cuts=range(len(form)))


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=" + "x" * 71,
        'multipart/form-data; boundary="x',
        "multipart/form-data; boundary=x; boundary=y",
        "multipart/form-data; boundary=x\r\ny",
        "multipart/mixed; boundary=x",
    ],
)
def test_a_boundary_must_be_named(content_type):
    with pytest.raises(BadForm):
        FormCopy(content_type, ())


@pytest.mark.parametrize(
    "content_type",
    ['multipart/form-data; boundary="xyz"', "Multipart/Form-Data;boundary=xyz; charset=utf-8"],
)
def test_a_boundary_is_read_in_every_form(content_type):
    assert copied(field("a", "1"), END, content_type=content_type)[0].fields == {"a": "1"}


def test_there_are_not_too_many_parts(monkeypatch):
    monkeypatch.setattr(forms, "MOST_PARTS", 2)

    assert copied(field("a", "1"), field("b", "1"), END)
    with pytest.raises(BadForm):
        copied(field("a", "1"), field("b", "1"), field("c", "1"), END)


def test_a_field_is_not_too_long(monkeypatch):
    monkeypatch.setattr(form_copy, "LONGEST_FIELD", 3)

    assert copied(field("a", "123"), END)
    with pytest.raises(BadForm):
        copied(field("a", "1234"), END)


def test_a_field_that_comes_too_late_is_refused_if_it_has_to_be_obeyed():
    copy = FormCopy(TYPE, {"stream"})
    copy.add(field("model", "m") + file(b"..."))
    copy.is_late = True

    copy.add(field("language", "de"))
    with pytest.raises(BadForm) as refused:
        copy.add(field("stream", "true"))
    assert refused.value.param == "stream"


def test_what_follows_the_form_is_dropped():
    assert copied(*FORM, b"\r\nmore")[1].endswith(b"--\r\n")


def test_a_late_field_that_some_servers_read_as_another_is_refused():
    copy = FormCopy(TYPE, {"model"})
    copy.add(field("model", "m") + file(b"..."))
    copy.is_late = True

    with pytest.raises(BadForm) as refused:
        copy.add(field("MODEL", "other"))
    assert refused.value.param == "MODEL"
