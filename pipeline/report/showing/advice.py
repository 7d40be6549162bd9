"""What to do about a code of quarantine or a flag of captions."""

from __future__ import annotations

from typing import Final

__all__ = ["CODE_ADVICE", "FLAG_ADVICE", "UNKNOWN"]

_RETRY: Final = "then run the job with --retry-quarantined"

CODE_ADVICE: Final[dict[str, str]] = {
    "image_missing": "The row has no image. --image-column names another column.",
    "image_empty": "The source holds zero bytes: an upload that failed. Store the image again, "
    f"{_RETRY}.",
    "image_unidentified": "Often a web page or an error message that was saved as an image. Fetch "
    f"it again, {_RETRY}.",
    "image_is_lfs_pointer": f"Run git lfs pull where the images are, {_RETRY}.",
    "image_is_html": f"The link is dead, or asks for a log-in. Fetch the image again, {_RETRY}.",
    "image_is_xml": f"Look at what the storage said. Fetch the image again, {_RETRY}.",
    "image_is_json": f"Look at what the service said. Fetch the image again, {_RETRY}.",
    "image_is_text": f"Look at what the text says. Fetch the image again, {_RETRY}.",
    "image_is_svg": f"Draw it to pixels first (rsvg-convert), {_RETRY}.",
    "image_is_pdf": f"Make an image of each page first (pdftoppm), {_RETRY}.",
    "image_is_video": f"Take frames out of it first (ffmpeg), {_RETRY}.",
    "image_is_archive": f"Unpack it, {_RETRY}.",
    "image_truncated": f"An upload or download was cut short. Store the image again, {_RETRY}.",
    "image_corrupt": f"The file is damaged. Store the image again, {_RETRY}.",
    "image_too_many_pixels": f"If images so large are wanted, raise --max-pixels, {_RETRY}.",
    "image_too_many_bytes": f"If files so large are wanted, raise --max-image-bytes, {_RETRY}.",
    "image_too_elongated": "The model's family cannot cut it. Crop it, or leave it out.",
    "image_timeout": f"A hostile file, or a busy machine: raise --decode-timeout-sec, {_RETRY}.",
    "image_too_much_memory": f"Raise --max-decode-mib if the image is trusted, {_RETRY}.",
    "image_kills_decoder": "Treat the file as hostile; nothing but its own decoder was hurt.",
    "prompt_missing": f"Fill the prompt in the source, {_RETRY}.",
    "prompt_invalid": "Take the image placeholder out of the prompt in the source.",
    "prompt_too_long": f"Shorten the prompt, or raise --max-prompt-tokens, {_RETRY}.",
    "column_missing": "Name the columns with --image-column, --prompt-column or --id-column.",
    "key_duplicate": "Make keys unique in the shard: the first row with a key is captioned.",
    "key_unsafe": "Rename it in the source: keys neither climb nor hold control characters.",
    "line_invalid": f"Mend the line: error_detail says what is wrong with it; {_RETRY}.",
    "path_not_allowed": f"If the table is to be trusted, name a folder above by --image-root, "
    f"{_RETRY}.",
    "file_not_found": "Mend the link, put the file there, or name what paths are relative to by "
    f"--image-root, {_RETRY}.",
    "file_unreadable": "Give the user of the job the right to read it (a pipe is no image), "
    f"{_RETRY}.",
    "url_not_allowed": f"If the host is one of yours, --fetch-private, {_RETRY}.",
    "url_not_found": "The page is gone; leave the row out.",
    "url_refused": "The host wants a log-in or no robots; fetch the images by other means.",
    "url_opted_out": "The host wants no such use; --fetch-opted-out goes against its word.",
    "url_redirects": f"If so many are meant, raise --fetch-redirects, {_RETRY}.",
    "url_host_unknown": "The host is gone, or its name is misspelt; leave the row out.",
    "url_not_trusted": f"Mend the host's certificate, {_RETRY}.",
    "url_unreachable": "It may pass: run the job with --retry-quarantined.",
    "url_timeout": "It may pass: run the job with --retry-quarantined, or raise "
    "--fetch-timeout-sec.",
    "url_busy": "It may pass: run the job with --retry-quarantined, or lower --fetch-per-host.",
    "url_server_error": "It may pass: run the job with --retry-quarantined.",
    "member_not_a_file": "Pack the tar without links: tar --dereference.",
    "shard_truncated": "Store the shard again; the next run sees that it changed and opens it.",
    "shard_kills_reader": "Store the shard again, or leave it out; its rows are not known.",
    "shard_corrupt": "Store the shard again; the next run sees that it changed and opens it.",
    "encoding_failed": f"Read error_detail; {_RETRY} when its cause is mended.",
    "generation_timeout": f"Raise --generation-timeout-sec or lower --max-new-tokens, {_RETRY}.",
    "row_kills_process": "Keep the image and tell the authors: it ended its process twice.",
    "caption_rejected": "Change prompt or decoding (--repetition-penalty, --no-repeat-ngram-size, "
    f"--max-new-tokens), or reject less, {_RETRY}.",
    "output_invalid": f"Raise --max-new-tokens, or make the form simpler, {_RETRY}.",
    "generation_failed": f"Read error_detail: most often memory. Lower --max-slots, {_RETRY}.",
}
"""By error code."""

FLAG_ADVICE: Final[dict[str, str]] = {
    "empty": "--min-new-tokens makes a model say something; see whether its images are empty too.",
    "truncated": "Raise --max-new-tokens, or ask for a shorter text in the prompt.",
    "loop": "--repetition-penalty 1.1 or --no-repeat-ngram-size 6 keeps most models from it.",
    "refused": "Ask less of the model, or --reject refused.",
    "echo": "The model repeats what it is asked: look at the prompt and the chat template.",
    "short": "Ask for more detail in the prompt, or --min-new-tokens.",
    "long": "Ask for a shorter text in the prompt, or lower --max-new-tokens.",
    "language": "Name the language in the prompt.",
}
"""By flag."""

UNKNOWN: Final = "See the documentation of the version that wrote it."
