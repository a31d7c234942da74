"""Languages and scripts: right where they say one, and unknown where they cannot tell."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mlmctl.text import languages, scripts
from mlmctl.text.languages import language, shares

SENTENCES = {
    "en": (
        "When the river froze that winter, the children of the village would walk across it to the school."
    ),
    "de": (
        "Als der Fluss in diesem Winter gefroren war, gingen die Kinder des Dorfes über das "
        "Eis zu ihrer Schule."
    ),
    "fr": (
        "Quand la rivière a gelé cet hiver, les enfants du village sont allés à l'école en "
        "marchant sur la glace."
    ),
    "es": (
        "Cuando el río se heló aquel invierno, los niños del pueblo iban a la escuela "
        "caminando sobre el hielo."
    ),
    "pt": (
        "Quando o rio gelou naquele inverno, as crianças da aldeia não iam pela ponte, mas a pé sobre o gelo."
    ),
    "it": (
        "Quando il fiume gelò quell'inverno, i bambini del villaggio andavano a scuola a piedi "
        "sul ghiaccio che era molto spesso."
    ),
    "nl": (
        "Toen de rivier in die winter bevroren was, liepen de kinderen van het dorp over het "
        "ijs naar de school."
    ),
    "sv": (
        "När floden frös den vintern gick barnen i byn över isen till skolan, och det var inte långt för dem."
    ),
    "fi": (
        "Kun joki jäätyi sinä talvena, kylän lapset kulkivat jään yli kouluun, ja se oli hyvä "
        "tie, mutta ei pitkä."
    ),
    "pl": (
        "Kiedy tej zimy rzeka zamarzła, dzieci ze wsi chodziły do szkoły po lodzie i nie było "
        "to dla nich daleko."
    ),
    "cs": (
        "Když té zimy řeka zamrzla, děti z vesnice chodily do školy po ledu a nebylo to pro ně "
        "daleko, ale byl mráz."
    ),
    "ro": (
        "Când râul a înghețat în iarna aceea, copiii din sat mergeau la școală pe gheață și nu "
        "era departe pentru ei."
    ),
    "hu": (
        "Amikor azon a télen befagyott a folyó, a falu gyerekei a jégen mentek az iskolába, és "
        "ez nem volt messze."
    ),
    "tr": (
        "O kış nehir donduğunda köyün çocukları okula buzun üstünden yürüyerek gitti ve bu çok "
        "uzun bir yol değil."
    ),
    "id": (
        "Ketika sungai itu membeku pada musim dingin, anak-anak dari desa itu berjalan di atas "
        "es untuk ke sekolah."
    ),
    "vi": (
        "Khi con sông đóng băng vào mùa đông năm đó, trẻ em trong làng đã đi bộ trên băng để "
        "đến trường và không xa."
    ),
    "ru": (
        "Когда той зимой река замёрзла, дети из деревни ходили в школу по льду, и это было для "
        "них не так далеко."
    ),
    "uk": (
        "Коли тієї зими річка замерзла, діти з села ходили до школи по льоду, і це було для "
        "них не так далеко."
    ),
    "ar": (
        "عندما تجمد النهر في ذلك الشتاء كان أطفال القرية يذهبون إلى المدرسة على الجليد ولم يكن "
        "هذا بعيدا عن البيت."
    ),
    "fa": (
        "وقتی که رودخانه در آن زمستان یخ زد، بچه‌های روستا از روی یخ به مدرسه می رفتند و این "
        "راه برای آنها دور نبود."
    ),
    "hi": ("जब उस सर्दी में नदी जम गई तो गाँव के बच्चे बर्फ पर चलकर स्कूल जाते थे और यह उन के लिए दूर नहीं था।"),
    "zh": "那年冬天河水结冰的时候，村里的孩子们在冰上走路去上学。",
    "ja": "その冬に川が凍ったとき、村の子どもたちは氷の上を歩いて学校へ行きました。",
    "ko": "그 겨울에 강이 얼었을 때 마을 아이들은 얼음 위를 걸어서 학교에 갔다.",
    "th": "เมื่อแม่น้ำกลายเป็นน้ำแข็งในฤดูหนาวนั้น เด็กในหมู่บ้านเดินไปโรงเรียน",
    "el": "Όταν το ποτάμι πάγωσε εκείνο τον χειμώνα, τα παιδιά πήγαιναν στο σχολείο.",
    "he": "כאשר הנהר קפא באותו חורף, הלכו ילדי הכפר לבית הספר על הקרח.",
}


@pytest.mark.parametrize("name", SENTENCES)
def test_a_sentence_is_of_its_language(name: str) -> None:
    assert language(SENTENCES[name]) == name


@pytest.mark.parametrize(
    "text",
    [
        "", "12345 !?", "Lisbon", "Berlin Hauptbahnhof Gleis sieben",
        "Sa kalamigan ng taglamig naglakad papuntang paaralan lahat bata nayon",  # Tagalog
        "x = np.zeros(n); y = foo.bar(x[i], x[j]) * scale + offset; print(y.shape, y.dtype)",
    ],
)  # fmt: skip
def test_what_cannot_be_told_is_unknown(text: str) -> None:
    assert language(text) == "unknown"


def test_shares_are_of_characters_and_small_ones_are_not_told() -> None:
    found = shares([SENTENCES["en"]] * 2000 + [SENTENCES["de"]] * 1000 + [SENTENCES["pl"]])
    assert list(found) == ["en", "de", "unknown"]
    assert sum(found.values()) == pytest.approx(1, abs=1e-3)


@given(st.dictionaries(st.sampled_from(["en", "de", "ru", "unknown"]), st.integers(1, 3000), min_size=1))
@example({"en": 2000, "unknown": 22})
def test_shares_sum_to_one(copies: dict[str, int]) -> None:
    texts = {**SENTENCES, "unknown": "12345 !?"}
    with pytest.MonkeyPatch.context() as patch:  # each sentence is told its language once
        patch.setattr(languages, "language", {text: name for name, text in texts.items()}.__getitem__)
        found = shares([texts[name] for name, count in copies.items() for _ in range(count)])
    assert sum(found.values()) == pytest.approx(1, abs=3e-4)  # each is rounded to four places


def test_scripts_are_counted_by_letters() -> None:
    found = scripts.count(["abc é 123", "да", "水", "ｆｕｌｌ", "𝐀 ª µ", "かカ", "ก็"])
    expected = {"latin": 8, "cyrillic": 2, "han": 1, "hiragana": 1, "katakana": 1, "thai": 1}
    assert found == expected
    assert next(iter(found)) == "latin"
