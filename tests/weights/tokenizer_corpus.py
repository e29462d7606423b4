"""Ten thousand strings that tokenizers stumble over, the same each time."""

from __future__ import annotations

import random

_PHRASES = (
    "No acute intracranial hemorrhage.",
    "Impression: 1. 3 mm calcified granuloma in the RUL; 2. no pleural effusion.",
    "HbA1c 7.2 % (55 mmol/mol), eGFR 58 mL/min/1.73 m²",
    "CT Abdomen/Pelvis w/ contrast -- LIVER: hypodense lesion, segment IVb, 12×9 mm, −40 HU",
    "T2/FLAIR hyperintensity; ADC 0.65×10⁻³ mm²/s",
    "Ki-67 ≈ 15%, ER+/PR+/HER2−",
    "Stammganglienblutung rechts, Mittellinienverlagerung 6 mm, Ödem.",
    "Épanchement pleural gauche de faible abondance, cœur de volume normal.",
    "Neumotórax apical derecho; ¿derrame? «sin cambios»",
    "Очаговых изменений в лёгких не выявлено.",
    "右肺上葉に結節影を認める。CTで精査を推奨。",
    "双肺纹理清晰，未见明显实质性病变。",
    "폐에 활동성 병변은 보이지 않습니다.",
    "لا يوجد انصباب جنبي، القلب بحجم طبيعي.",
    "אין עדות לדימום תוך גולגולתי",
    "फेफड़ों में कोई सक्रिय घाव नहीं है।",
    "ไม่พบความผิดปกติของปอด",
    "Không thấy tổn thương nhu mô phổi.",
    "Δοκιμή: καρδιά φυσιολογική",
    "<start_of_turn>user\nWhat is shown?<end_of_turn>\n<start_of_turn>model\n",
    "<bos><eos><pad><unk><mask>[multimodal]",
    "<start_of_image><end_of_image> <unused0> <unused94>thought<unused95> <unused99> <unused6241>",
    "<table><tr><td>Na</td><td>141</td></tr></table><b>K</b> 4.1<sup>a</sup>",
    '{"box_2d": [112, 40, 530, 611], "label": "nodule"}',
    "def f(x):\n\treturn x  # ok\r\n",
    "<0x0A> <0xFF> </s> <s>",
    "a" * 70,
    "0123456789" * 5,
    "!!!???...,,,;;;---___***",
)
_SPECKS = (
    *(" " * n for n in (1, 2, 3, 4, 5, 8, 16, 30, 31)),
    *("\n" * n for n in (1, 2, 3, 4, 7, 31, 32, 70)),
    *("\t" * n for n in (1, 2, 5, 31, 40)),
    " \n ",
    "\r\n",
    "\x00",
    "\x01\x02\x7f",
    "\x1b[0m",
    "\u200b",
    "\u200d",
    "\ufeff",
    "\u00a0",
    "\u3000",
    "\u202e",
    "e\u0301",
    "é",
    "ﬁ",
    "Å",
    "🫁",
    "🫀🩻",
    "👩🏽‍⚕️",
    "🇩🇪",
    "☢️",
    "𝔘𝔫𝔦",
    "𒀀",
    "\U0010ffff",
    "\ue000",
    "→",
    "µ",
    "℃",
)


def corpus(count: int = 10_000, *, seed: int = 20) -> list[str]:
    """Returns phrases, specks, their mixtures, and random code points."""
    chance = random.Random(seed)
    strings = ["", *_PHRASES, *_SPECKS]
    while len(strings) < count:
        kind = chance.random()
        if kind < 0.2:
            strings.append("".join(_code_point(chance) for _ in range(chance.randint(1, 24))))
        elif kind < 0.5:
            phrase = chance.choice(_PHRASES)
            start = chance.randrange(len(phrase))
            strings.append(
                chance.choice(_SPECKS) + phrase[start : start + chance.randint(1, 40)] + chance.choice(_SPECKS)
            )
        else:
            pieces = chance.choices(_PHRASES, k=2) + chance.choices(_SPECKS, k=4)
            chance.shuffle(pieces)
            strings.append("".join(pieces))
    return strings


def _code_point(chance: random.Random) -> str:
    while True:
        point = chance.choice((chance.randrange(0x250), chance.randrange(0x3000), chance.randrange(0x110000)))
        # Surrogates are no characters; U+2581 is how the vocabulary itself writes a space.
        if not 0xD800 <= point < 0xE000 and point != 0x2581:
            return chr(point)
