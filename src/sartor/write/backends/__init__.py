"""Who puts the words on paper: a model in this process, or one behind an API. All have one face.

writer = backend("endpoint:https://api.openai.com/v1#gpt-5-mini")      # or "transformers:FOLDER", "tiny:FOLDER"
writer.generate([[{"role": "user", "content": "A title, please."}]], max_tokens=20)[0].text
"""

from __future__ import annotations

from sartor.write.backends.backend import Backend, Generation, Message, check_messages, text_of
from sartor.write.backends.by_name import backend

__all__ = ["Backend", "Generation", "Message", "backend", "check_messages", "text_of"]
