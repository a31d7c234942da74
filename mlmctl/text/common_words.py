"""The commonest words of languages that share their script with others, by script and ISO 639-1 name."""

from __future__ import annotations

_WORDS = {
    "latin": {
        "en": (
            "the of and to in a is that it was for with as on be at by this are from or have not but "
            "which they his you he i we had were her she their an been has there one all would can"
        ),
        "de": (
            "der die das und in den von zu mit sich des auf für ist im dem nicht ein eine als auch es "
            "an werden aus er hat dass sie nach wird bei einer um am sind noch wie einem über ich wir "
            "war"
        ),
        "fr": (
            "de la le et les des en un du une que est pour qui dans a par plus pas au sur ne se ce il "
            "sont avec ou son aux mais cette ont nous vous je elle été être c'est comme"
        ),
        "es": (
            "de la que el en y los se del las un por con no una su para es al lo como más o pero sus "
            "le ha me si sin sobre este ya entre cuando todo esta ser son también fue"
        ),
        "pt": (
            "de a o que e do da em um para com não uma os no se na por mais as dos como mas ao das "
            "ele à seu sua ou ser quando muito nos já eu também só pelo pela até isso ela são foi"
        ),
        "it": (
            "di e il la che in un a per è non una sono le si da con i del ha come dei più nel alla "
            "della ma anche gli al lo se delle questo ci era essere suo nella dal"
        ),
        "nl": (
            "de van een het en in is dat op te zijn met voor niet die aan er om ook als dan maar bij "
            "uit door nog naar heeft hij tot ze wordt kan wat ik je over of worden haar"
        ),
        "sv": (
            "och i att det som en på är av för med den till inte har de ett om han men var jag från "
            "så vi kan nu när hon eller sig vid ut ska efter under också där"
        ),
        "da": (
            "og i at det er en til på de som af for med den der ikke har et var han men om jeg fra så "
            "vi kan nu når hun eller sig ved ud skal efter også hvor blev"
        ),
        "no": (
            "og i det er på til som en å for av at med har de ikke den et var om han jeg men fra så "
            "vi kan nå når hun eller seg ved ut skal etter også hvor ble være"
        ),
        "fi": (
            "ja on ei se että oli hän mutta ovat joka kun niin kuin myös ole sen tai olen jos vain "
            "hänen mukaan sitä minä olisi mitä nyt ne tämä tämän jo voi jotka"
        ),
        "pl": (
            "i w na z do się nie to że jest o jak po od za przez ale dla są jego co tym był tak czy "
            "przy jej już tylko może ze było być który które oraz także go"
        ),
        "cs": (
            "a v na se je že s z do o to i jako ve k by pro za od po byl jsou ale není jeho které "
            "který však nebo při jsem až tak také bylo být jen už má"
        ),
        "ro": (
            "de și în la a cu o pe nu din că care este un mai pentru se ce să au sunt fi sau prin dar "
            "lui al după această fost ale unei era cele cum ea ai ei"
        ),
        "hu": (
            "a az és hogy nem is egy ez meg volt csak de ha mint már el még azt van vagy ki ezt ami "
            "minden majd lehet aki pedig én kell szerint után nagyon vannak"
        ),
        "tr": (
            "ve bir bu da için ile de olarak çok daha olan gibi o en kadar ne ama sonra var değil her "
            "ya mi olduğu ise ki şey veya tarafından göre bütün içinde"
        ),
        "id": (
            "yang dan di untuk dengan pada dari ini dalam adalah tidak itu akan ke oleh juga telah "
            "ada sebagai bisa karena atau saya mereka kami tersebut lebih dapat orang setiap"
        ),
        "vi": (
            "và của là có trong cho được một với không các những người này đã khi từ như để về năm đó "
            "nhiều ra vào cũng đến tôi trên mọi phải hay"
        ),
    },
    "cyrillic": {
        "ru": (
            "и в не на что я с он а как это по но из у за от к то его же для бы все она так о мы или "
            "было они ещё только был когда при быть который имеет"
        ),
        "uk": (
            "і в не на що я з він а як це по але із у за від до та його же для б все вона так про ми "
            "або було вони ще тільки був коли при бути який має є й"
        ),
        "bg": (
            "и в не на че с той а как това по но от у за към го е се са да ще й тя така ние или беше "
            "те още само при бъде който има като си във"
        ),
        "sr": (
            "и у не на да је се су за од са као што а по али из то он они или би био која који све ће "
            "има само када до сам још њих кад"
        ),
    },
    "arabic": {
        "ar": (
            "في من على أن إلى عن التي الذي هذا هذه ما لا كان مع كل أو ذلك هو قد بين كما لم إن بعد عند "
            "هي أي وقد له كانت"
        ),
        "fa": (
            "و در به از که این را با است برای آن یک خود تا بر هم شده می شد باید کرد دارد اما هر او ما "
            "آنها بود نیز کند پس"
        ),
        "ur": (
            "کے میں کی ہے اور سے کا کو پر نے ہیں کہ یہ اس ایک بھی تھا ان نہیں کر گیا تھے جو لیے تو ہو "
            "کیا وہ ہی کسی"
        ),
    },
    "devanagari": {
        "hi": ("के में की है और से का को पर ने हैं कि यह इस एक भी था उन नहीं कर गया थे जो लिए तो हो किया वह ही किसी"),
        "mr": (
            "आणि आहे या व ते एक तो मध्ये ही हा च होते आहेत होता नाही हे की पण त्या ती किंवा असे म्हणून केले त्यांच्या करण्यात"
        ),
        "ne": ("र छ को मा हो ले लाई यो पनि का छन् भने थियो गर्न एक यस भएको गरेको तथा गर्ने हुन् कि त्यो न भन्ने"),
    },
}

COMMON_WORDS = {
    script: {name: frozenset(words.split()) for name, words in languages.items()}
    for script, languages in _WORDS.items()
}
