"""Decryption of HLS segments: AES-128 in CBC mode with PKCS #7 padding (RFC 8216, 4.3.2.4)."""

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES128
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.padding import PKCS7

from schemas.errors import ClipmillError, ErrorCode

KEY_BYTES = 16


class SegmentDecryptor:
    """Decrypts one segment as it arrives.

    Args:
        key: `KEY_BYTES`.
        iv: initialization vector, 16 bytes.
    """

    def __init__(self, key: bytes, iv: bytes) -> None:
        self._cipher = Cipher(AES128(key), CBC(iv)).decryptor()
        self._padding = PKCS7(AES128.block_size).unpadder()

    def feed(self, chunk: bytes) -> bytes:
        return self._padding.update(self._cipher.update(chunk))

    def finish(self) -> bytes:
        """Return the last bytes.

        Raises:
            ClipmillError: ``content.damaged``, the key does not fit, or the segment is cut.
        """
        try:
            return self._padding.update(self._cipher.finalize()) + self._padding.finalize()
        except ValueError:
            reason = "a segment cannot be decrypted with its key"
            message = f"the stream that came is damaged: {reason}"
            raise ClipmillError(ErrorCode.CONTENT_DAMAGED, message, reason=reason) from None
