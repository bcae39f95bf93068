"""From a file's bytes to UTF-8: compression, byte-order marks, UTF-16, GBK and GB18030; what cannot be read is named."""

from __future__ import annotations

import bz2
import codecs
import gzip
import lzma
import zlib

from pellucid.core.errors import DataError
from pellucid.core.language import Text, text

_KNOWN_BINARY = (  # first bytes -> what the file is, and what to do with it
    (b"PK\x03\x04", text("an Excel workbook or a ZIP archive"), text("save the sheet as CSV, or unpack the archive")),
    (b"\xd0\xcf\x11\xe0", text("an old Excel workbook"), text("save the sheet as CSV")),
    (b"PAR1", text("a Parquet file"), text("give it the ending .parquet")),
    (b"%PDF", text("a PDF document"), text("export the table as CSV")),
    (b"\x89PNG", text("an image"), text("for images give the folder they are in")),
    (b"\xff\xd8\xff", text("an image"), text("for images give the folder they are in")),
    (b"GIF8", text("an image"), text("for images give the folder they are in")),
    (b"SQLite format 3", text("an SQLite database"), text("export the table as CSV")),
    (b"\x80\x04", text("a Python pickle, which Pellucid never opens"), text("save the frame as CSV or Parquet")),
    (b"\x80\x05", text("a Python pickle, which Pellucid never opens"), text("save the frame as CSV or Parquet")),
    (b"\x93NUMPY", text("a NumPy array"), text("load it and give the array: pellucid.fit(X, y)")),
    (b"ARROW1", text("an Arrow file"), text("save it as Parquet")),
    (b"\x89HDF", text("an HDF5 file"), text("save the table as CSV or Parquet")),
)  # fmt: skip
_OTHER_ENCODINGS = ("big5", "shift_jis", "euc_kr")  # recognised so that the error can name them
_GB2312_SHARE = 0.9  # of the two-byte characters; Western text mistaken for GBK has next to none


def decompress(content: bytes, name: str) -> bytes:
    """The bytes inside gzip, xz or bzip2; other bytes as they are.

    Raises:
        DataError: the compressed file is torn.
    """
    try:
        if content.startswith(b"\x1f\x8b"):
            return gzip.decompress(content)
        if content.startswith(b"\xfd7zXZ\x00"):
            return lzma.decompress(content)
        if content.startswith(b"BZh"):
            return bz2.decompress(content)
    except (EOFError, OSError, zlib.error, lzma.LZMAError, ValueError) as error:
        raise DataError(
            text("{name} is compressed, and torn: {error}", name=name, error=str(error)),
            text("a complete compressed file"),
            text("copy or download it again"),
        ) from None
    return content


def to_utf8(content: bytes, name: str) -> bytes:
    """The same text as UTF-8 without a byte-order mark, lines ending in one newline character.

    Raises:
        DataError: a binary file, or an encoding that is not read; the message names what it seems to be.
    """
    for start, what, remedy in _KNOWN_BINARY:
        if content.startswith(start):
            raise DataError(text("{name} is {what}", name=name, what=what), text("a table as text, Parquet or JSON lines"), remedy)
    utf16 = _utf16_of(content)
    if utf16 is not None:
        try:
            content = content.decode(utf16).encode("utf-8")
        except UnicodeError as error:
            raise DataError(
                text("{name} begins as UTF-16 and breaks off: {error}", name=name, error=str(error)),
                text("a complete text file"),
                text("copy or download it again, or save it as UTF-8"),
            ) from None
    content = content.removeprefix(codecs.BOM_UTF8)
    if b"\x00" in content:
        raise DataError(
            text("{name} is a binary file: byte {position} is zero", name=name, position=content.index(b"\x00") + 1),
            text("a table as text, Parquet or JSON lines"),
            text("export the table as CSV"),
        )
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as error:
        content = _transcoded(content, name, error)
    return content.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if b"\r" in content else content


def _utf16_of(content: bytes) -> str | None:
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) and not content.startswith(codecs.BOM_UTF32_LE):
        return "utf-16"
    start = content[:4096]
    if len(start) < 4 or len(content) % 2:
        return None
    # without a mark: in Latin text, digits and separators every second byte is zero
    pairs = len(start) // 2
    for offset, encoding in ((1, "utf-16-le"), (0, "utf-16-be")):
        if start[offset::2].count(0) > 0.4 * pairs and start[1 - offset :: 2].count(0) == 0:
            return encoding
    return None


def _transcoded(content: bytes, name: str, error: UnicodeDecodeError) -> bytes:
    if _is_chinese(content):
        return content.decode("gb18030").encode("utf-8")
    line = content.count(b"\n", 0, error.start) + 1
    position = error.start - (content.rfind(b"\n", 0, error.start) + 1) + 1
    likely = _likely_encoding(content)
    raise DataError(
        text(
            "{name} is not UTF-8: byte {byte} at position {position} of line {line}; it looks like {encoding}",
            name=name, byte=f"0x{content[error.start]:02X}", position=position, line=line, encoding=likely[1],
        ),
        text("text in UTF-8 (with or without byte-order mark), UTF-16, GBK or GB18030"),
        text("save it as UTF-8, for example: iconv -f {encoding} -t UTF-8 {name} > utf8-{name}", encoding=likely[0], name=name),
    )  # fmt: skip


def _is_chinese(content: bytes) -> bool:
    """GB18030 decodes it, and it is the everyday characters of GB 2312 (both bytes from 0xA1 on) that it holds.

    Decoding alone proves nothing: in the Western "Müller" the bytes of "ül" also stand for a rare Chinese character.
    """
    try:
        decoded = content.decode("gb18030")
    except UnicodeDecodeError:
        return False
    wide = [character for character in decoded[:200_000] if ord(character) > 127]
    common = sum(len(encoded) == 2 and encoded[1] >= 0xA1 for encoded in (character.encode("gb18030") for character in wide))
    return common >= _GB2312_SHARE * len(wide)


def _likely_encoding(content: bytes) -> tuple[str, Text | str]:
    """(name for iconv, name for a person)."""
    sample = content[:1_000_000]
    high = [index for index, byte in enumerate(sample) if byte >= 0x80]
    alone = sum((index == 0 or sample[index - 1] < 0x80) and (index + 1 == len(sample) or sample[index + 1] < 0x80) for index in high)
    if alone > 0.5 * len(high):
        return "WINDOWS-1252", text("Windows-1252 (Western European)")
    for encoding in _OTHER_ENCODINGS:
        try:
            content.decode(encoding)
        except UnicodeDecodeError:
            continue
        return encoding.upper(), encoding.upper()
    return "WINDOWS-1252", text("a single-byte encoding, or a torn file")
