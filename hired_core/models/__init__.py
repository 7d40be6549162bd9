"""Families: the only code that knows a model class; one file a family, and what they share.

`registry` tells the family from a checkpoint's config.json. Importing a family imports
transformers; importing the registry does not. Decoding, methods and engines are not here.
"""

import logging

# transformers imports torchao where it is installed, and that tells of what nothing here needs:
# compiled kernels for some GPUs, and its own use of a part of torch that will change.
logging.getLogger("torchao").setLevel(logging.ERROR)
logging.getLogger("torch.utils._pytree").addFilter(lambda said: "Enum subclass" not in said.msg)
