"""What a client is made with, blocking or not."""

import ssl

from .core import Core
from .http import HttpOptions, http_options


class BaseClient:
    """A client that has its settings and no connection yet."""

    def __init__(
        self,
        base_url: str,
        *,
        model: str | None = None,
        api_key: str | None = None,
        codebook_hash: str | None = None,
        timeout_s: float = 60.0,
        request_timeout_s: float = 30.0,
        max_retries: int = 5,
        batch_size: int = 64,
        concurrency: int = 4,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        """Take where the service is and how to treat it; nothing is sent yet.

        Args:
            base_url: such as "http://localhost:8000".
            model: its name, where several are served.
            api_key: where the service asks for one.
            codebook_hash: the SHA-256 of the codebook that the model must have; by default what it has first.
            timeout_s: seconds of a request with its repetitions and the waits between, which last as long as
                the service asks (Retry-After), and otherwise twice as long each time.
            request_timeout_s: seconds of one request, sent along as X-Timeout-S; at most the `timeout_s` of
                the service, which is 30 by default.
            max_retries: repetitions of a request that got no reply, or one without a Retry-After.
            batch_size: images of a request. Where the service finds that too large, half of it is sent.
            concurrency: requests under way at once.
            ssl_context: for https, instead of the usual certificates.

        Raises:
            ValueError: a value outside its limits.
        """
        options = http_options(base_url, concurrency=concurrency, ssl_context=ssl_context)
        self._core = Core(
            model=model,
            api_key=api_key,
            codebook_hash=codebook_hash,
            timeout_s=timeout_s,
            request_timeout_s=request_timeout_s,
            max_retries=max_retries,
            batch_size=batch_size,
        )
        self._concurrency = concurrency
        # Results come in order, so that one slow request holds up the rest; with twice as many batches read
        # as are under way, the others go on meanwhile.
        self._num_ahead = 2 * concurrency
        self._open(options)

    def _open(self, options: HttpOptions) -> None:
        """Make the pool of connections."""
        raise NotImplementedError
