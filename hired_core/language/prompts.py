"""From a user's question to the token ids around the image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


class PromptError(ValueError):
    """The checkpoint has no chat template, or the prompt does not hold exactly one image."""


@dataclass(frozen=True, kw_only=True)
class PromptTemplate:
    """A checkpoint's chat template and tokenizer.

    Attributes:
        tokenizer: transformers tokenizer.
        template: Jinja chat template, None if the checkpoint has none.
        image_token: the placeholder that stands for the image, e.g. "<image>".
    """

    tokenizer: Any
    template: str | None
    image_token: str

    @property
    def control_tokens(self) -> tuple[str, ...]:
        """Texts that the tokenizer reads as one token which is no word: ends of turns, the image
        placeholder and others that the checkpoint declares special; sorted."""
        added = getattr(self.tokenizer, "added_tokens_decoder", {}).values()
        special = {str(token) for token in added if token.special}
        return tuple(sorted({*special, *self.tokenizer.all_special_tokens, self.image_token}))

    def render(self, prompt: str, *, from_data: bool = False) -> str:
        """The text given to the model, the image as one placeholder.

        A prompt that holds the placeholder already is taken word for word; any other is put into
        the chat template as the user's turn, after the image.

        Args:
            from_data: the prompt comes with the images and is not to be trusted: it may not hold
                the placeholder, which would let it replace the chat template.

        Raises:
            PromptError: without a chat template, if it fails, or with more placeholders than
                allowed.
        """
        verbatim = self.image_token in prompt and not from_data
        text = prompt if verbatim else self._chat(prompt)
        if text.count(self.image_token) != 1:
            raise PromptError(f"a prompt needs exactly one {self.image_token}, got {text!r}")
        return text

    def _chat(self, prompt: str) -> str:
        if self.template is None:
            hint = f"give the whole prompt, with {self.image_token} in it, by --prompt"
            raise PromptError(f"the checkpoint has no chat template; {hint}")
        content = [{"type": "image"}, {"type": "text", "text": prompt}]
        try:
            text = self.tokenizer.apply_chat_template(
                [{"role": "user", "content": content}],
                chat_template=self.template,
                add_generation_prompt=True,
                tokenize=False,
            )
        except Exception as exc:  # A program of the checkpoint's, in Jinja's sandbox.
            raise PromptError(f"the checkpoint's chat template fails: {exc}") from exc
        return str(text)

    def token_ids(self, prompt: str, *, from_data: bool = False) -> tuple[list[int], list[int]]:
        """Ids before and after the image; see `render`."""
        ids: list[int] = self.tokenizer(self.render(prompt, from_data=from_data))["input_ids"]
        at = ids.index(self.tokenizer.convert_tokens_to_ids(self.image_token))
        return ids[:at], ids[at + 1 :]
