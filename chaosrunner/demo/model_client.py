"""How a replica asks the model."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import aiohttp


class ModelClient:
    """Asks the model over HTTP; deadlines are the caller's.

    Args:
        session: Client session to use; its owner closes it.
        url: Where the model answers prompts.
    """

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def ask(self, text: str, tone: str) -> str:
        """The model's answer.

        Raises:
            aiohttp.ClientError: It cannot be reached, broke off, or answered an error.
        """
        async with self._session.post(self._url, json={"text": text, "tone": tone}) as response:
            response.raise_for_status()
            answer: str = (await response.json())["answer"]
            return answer
