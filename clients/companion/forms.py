"""What a form sends, read into memory and nowhere else, once it has shown that it is one of ours."""

from __future__ import annotations

import io
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from hmac import compare_digest

from python_multipart.exceptions import FormParserError
from starlette.datastructures import UploadFile
from starlette.formparsers import FormParser, MultiPartException, MultiPartParser
from starlette.requests import Request

from clients.companion.security import FORM_SECRET, Session
from fedpersona.errors import ConfigError, DataError

__all__ = ["Form", "NotOurForm", "Upload", "read_form"]

LARGEST_UPLOAD = 512 * 1024 * 1024
_LARGEST_FIELDS = 64 * 1024
_MOST_FIELDS = 32


class NotOurForm(Exception):
    """A form without this session's secret: another page may have sent it."""


class Upload(io.BufferedIOBase):
    """A file that a browser sent, in memory. It has no file number: nothing can spill it to the disk.

    Args:
        name: as the browser calls it.
        content: the parser's file, which never goes to the disk by itself.
    """

    def __init__(self, name: str, content: UploadFile) -> None:
        self.name = name
        self._file = content.file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        return self._file.read(-1 if size is None else size)

    def read1(self, size: int = -1, /) -> bytes:
        return self._file.read(size)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        self._file.seek(offset, whence)
        return self._file.tell()

    def tell(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


@dataclass(frozen=True)
class Form:
    """A form's fields and the file that came with it. Its ``repr`` shows nothing of them."""

    fields: Mapping[str, str]
    upload: Upload | None = None

    def __repr__(self) -> str:
        return f"Form({len(self.fields)} fields)"

    def __getitem__(self, name: str) -> str:
        return self.fields.get(name, "")


class _InMemory(MultiPartParser):
    spool_max_size = 0  # of Python's spooled file: never to disk


async def read_form(request: Request, session: Session) -> Form:
    """Read a form and check its secret.

    Raises:
        NotOurForm: it does not carry the session's secret.
        DataError: it is too large.
        ConfigError: it is no form, or not one of ours.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        if kind == "multipart/form-data":
            parser = _InMemory(request.headers, _limited(request, LARGEST_UPLOAD), max_files=1, max_fields=_MOST_FIELDS)
            parsed = await parser.parse()
        elif kind == "application/x-www-form-urlencoded":
            parsed = await FormParser(
                request.headers, _limited(request, _LARGEST_FIELDS), max_fields=_MOST_FIELDS
            ).parse()
        else:
            raise NotOurForm
    except (MultiPartException, FormParserError) as error:
        why = error.message if isinstance(error, MultiPartException) else "it is not what a browser sends"
        raise ConfigError(f"this form cannot be read ({why.rstrip('.')}): go back and send it again") from None
    fields = {name: value for name, value in parsed.multi_items() if isinstance(value, str)}
    uploads = [Upload(one.filename or "", one) for _, one in parsed.multi_items() if isinstance(one, UploadFile)]
    if not compare_digest(fields.pop(FORM_SECRET, "").encode(), session.form_secret.encode()):
        for one in uploads:
            one.close()
        raise NotOurForm
    return Form(fields, uploads[0] if uploads else None)


async def _limited(request: Request, most: int) -> AsyncGenerator[bytes, None]:
    too_large = DataError(
        f"is larger than the {most >> 20 or 1} MB that are taken at once: use the command line for it"
    )
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length[:20]) > most:
        raise too_large
    received = 0
    async for chunk in request.stream():
        received += len(chunk)
        if received > most:
            raise too_large
        yield chunk
