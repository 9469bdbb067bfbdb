"""TwiML, the documents by which Twilio-like providers are told what to say and ask. Whatever the text, they are XML."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from xml.etree import ElementTree as ET

from outdial.domain.campaign import AnswerType
from outdial.domain.conversation import Turn

CONTENT_TYPE: Final = "text/xml; charset=utf-8"
# How long a person may think before the keypad or speech begins.
THINK_SECONDS: Final = 6
# What XML 1.0 cannot hold, escaped or not.
NOT_XML: Final = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

# A language without its region is no voice's name.
LOCALES: Final[Mapping[str, str]] = {
    "ar": "arb",
    "cs": "cs-CZ",
    "da": "da-DK",
    "de": "de-DE",
    "el": "el-GR",
    "en": "en-US",
    "es": "es-ES",
    "fi": "fi-FI",
    "fr": "fr-FR",
    "hi": "hi-IN",
    "hu": "hu-HU",
    "it": "it-IT",
    "ja": "ja-JP",
    "ko": "ko-KR",
    "nb": "nb-NO",
    "nl": "nl-NL",
    "pl": "pl-PL",
    "pt": "pt-PT",
    "ro": "ro-RO",
    "ru": "ru-RU",
    "sv": "sv-SE",
    "tr": "tr-TR",
    "zh": "cmn-CN",
}
# Where the language has no line here the call ends without a word, rather than with a foreign one.
GOODBYES: Final[Mapping[str, str]] = {
    "de": "Vielen Dank. Auf Wiederhören.",
    "en": "Thank you. Goodbye.",
    "es": "Muchas gracias. Adiós.",
    "fr": "Merci beaucoup. Au revoir.",
    "it": "Grazie. Arrivederci.",
    "nl": "Dank u wel. Tot ziens.",
    "pl": "Dziękuję. Do widzenia.",
    "pt": "Muito obrigado. Adeus.",
}


def document(turn: Turn, language: str, action: str | None) -> bytes:
    """The turn as TwiML. `action`: where the answer to its question is posted."""
    locale = LOCALES.get(language, language)
    root = ET.Element("Response")
    if turn.say:
        _say(root, turn.say, locale)
    if turn.ask is not None and action is not None:
        gather = ET.SubElement(
            root,
            "Gather",
            {
                "input": "dtmf speech",
                "action": action,
                "method": "POST",
                "timeout": str(THINK_SECONDS),
                "speechTimeout": "auto",
                "actionOnEmptyResult": "true",
                "language": locale,
                **({} if turn.ask.answer_type is AnswerType.FREE_TEXT else {"finishOnKey": "#"}),
            },
        )
        _say(gather, turn.ask.text, locale)
        return _written(root)
    goodbye = GOODBYES.get(re.split(r"[-_]", language)[0].lower())
    if turn.is_polite and goodbye is not None:
        _say(root, goodbye, locale)
    ET.SubElement(root, "Hangup")
    return _written(root)


def _say(parent: ET.Element, text: str, locale: str) -> None:
    ET.SubElement(parent, "Say", {"language": locale}).text = NOT_XML.sub("", text)


def _written(root: ET.Element) -> bytes:
    written: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return written
