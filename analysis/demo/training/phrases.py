"""Plain sentences in each language, so that the bundled models learn more than the facts they are asked about.

A pattern's `{slots}` are filled from the word lists of its language; `{country}` takes a subject of the bundled facts.
None of the patterns states a fact of the four relations.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType

_SLOT = re.compile(r"\{(\w+)\}")

Grammar = Mapping[str, Sequence[str]]
"""Patterns under `patterns`, and the words of each slot under its name."""

GRAMMARS: Mapping[str, Grammar] = MappingProxyType(
    {
        "en": {
            "patterns": (
                "The {person} {did} the {thing} in the {place}",
                "Every {time} the {person} goes to the {place}",
                "My {person} has {number} {things} and a {thing}",
                "In {country} the {season} is {weather}",
                "We travelled through {country} for {number} weeks last {season}",
                "A {person} from {country} sent us a {thing}",
                "The {thing} on the table is {colour}",
                "It was {weather} when the {person} left the {place}",
                "They sell {colour} {things} at the {place}",
                "Nobody in the {place} {did} the {colour} {thing}",
                "The weather in {country} is often {weather} in {season}",
                "Do you like the {colour} {thing} or the {thing} of the {person}?",
            ),
            "person": (
                "teacher",
                "farmer",
                "doctor",
                "neighbour",
                "child",
                "painter",
                "sister",
                "baker",
                "sailor",
                "judge",
            ),
            "did": ("found", "sold", "painted", "forgot", "carried", "wanted", "cleaned", "lost"),
            "thing": ("book", "lamp", "chair", "letter", "bicycle", "basket", "window", "clock", "coat", "bottle"),
            "things": ("books", "lamps", "chairs", "letters", "apples", "baskets", "clocks", "coats", "bottles"),
            "place": ("market", "library", "garden", "station", "kitchen", "harbour", "school", "village", "museum"),
            "time": ("morning", "evening", "Monday", "Friday", "week", "month"),
            "season": ("spring", "summer", "autumn", "winter"),
            "weather": ("warm", "cold", "rainy", "windy", "dry", "cloudy"),
            "number": ("two", "three", "four", "five", "six", "seven", "eight"),
            "colour": ("red", "blue", "green", "yellow", "white", "black", "brown"),
        },
        "zh": {
            "patterns": (
                "{person}在{place}{did}{thing}",
                "每到{time}，{person}都去{place}",
                "我的{person}有{number}个{thing}",
                "{country}的{season}很{weather}",
                "去年{season}我们在{country}旅行了{number}个星期",
                "一位从{country}来的{person}送给我们一个{thing}",
                "桌子上的{thing}是{colour}的",
                "{person}离开{place}的时候，天气很{weather}",
                "{place}里卖{colour}的{thing}",
                "没有人在{place}{did}那个{colour}的{thing}",
                "{season}的时候，{country}常常很{weather}",
                "你喜欢{colour}的{thing}，还是{person}的{thing}？",
            ),
            "person": ("老师", "农民", "医生", "邻居", "孩子", "画家", "妹妹", "面包师", "水手", "法官"),
            "did": ("找到了", "卖掉了", "画了", "忘记了", "搬走了", "想要", "擦干净了", "丢了"),
            "thing": ("本子", "灯", "椅子", "信封", "自行车", "篮子", "窗户", "钟", "外套", "瓶子"),
            "place": ("市场", "图书馆", "花园", "车站", "厨房", "港口", "学校", "村子", "博物馆"),
            "time": ("早上", "晚上", "星期一", "星期五", "周末", "月底"),
            "season": ("春天", "夏天", "秋天", "冬天"),
            "weather": ("暖和", "冷", "潮湿", "干燥", "凉快"),
            "number": ("两", "三", "四", "五", "六", "七", "八"),
            "colour": ("红色", "蓝色", "绿色", "黄色", "白色", "黑色", "棕色"),
        },
        "fr": {
            "patterns": (
                "Le {person} {did} le {thing} dans le {place}",
                "Chaque {time}, le {person} va au {place}",
                "Mon {person} possède {number} {things} et un {thing}",
                "Quand on visite {country}, le temps est souvent {weather}",
                "Nous avons traversé {country} pendant {number} semaines",
                "Un {person} qui connaît {country} nous envoie un {thing}",
                "Le {thing} sur la table est {colour}",
                "Le temps était {weather} quand le {person} quittait le {place}",
                "On vend un {thing} {colour} au {place}",
                "Personne au {place} ne cherche le {thing} {colour}",
                "En {season}, il fait {weather} au {place}",
                "Préfères-tu le {thing} {colour} ou le {thing} du {person} ?",
            ),
            "person": (
                "professeur",
                "fermier",
                "médecin",
                "voisin",
                "garçon",
                "peintre",
                "cousin",
                "boulanger",
                "marin",
                "juge",
            ),
            "did": ("trouve", "vend", "peint", "oublie", "porte", "veut", "nettoie", "perd"),
            "thing": ("livre", "vélo", "panier", "manteau", "tableau", "couteau", "chapeau", "sac", "banc", "journal"),
            "things": ("livres", "vélos", "paniers", "manteaux", "tableaux", "chapeaux", "sacs", "bancs"),
            "place": ("marché", "jardin", "port", "village", "musée", "bureau", "parc", "café"),
            "time": ("matin", "soir", "lundi", "vendredi", "mois", "été"),
            "season": ("été", "automne", "hiver"),
            "weather": ("chaud", "froid", "humide", "sec", "gris", "doux"),
            "number": ("deux", "trois", "quatre", "cinq", "six", "sept", "huit"),
            "colour": ("rouge", "bleu", "vert", "jaune", "blanc", "noir", "brun"),
        },
        "de": {
            "patterns": (
                "Der {person} {did} den {thing} auf dem {place}",
                "Jeden {time} geht der {person} zum {place}",
                "Mein {person} hat {number} {things} und einen {thing}",
                "Wer {country} im {season} besucht, findet es dort {weather}",
                "Wir sind {number} Wochen lang durch {country} gereist",
                "Ein {person}, der {country} kennt, schickte uns einen {thing}",
                "Der {thing} auf dem Tisch ist {colour}",
                "Es war {weather}, als der {person} den {place} verließ",
                "Auf dem {place} steht ein {thing}, er ist {colour}",
                "Niemand auf dem {place} {did} den {thing}",
                "Im {season} ist es auf dem {place} oft {weather}",
                "Gefällt dir der {thing} oder der {thing} vom {person}?",
            ),
            "person": (
                "Lehrer",
                "Bauer",
                "Arzt",
                "Nachbar",
                "Junge",
                "Maler",
                "Bruder",
                "Bäcker",
                "Matrose",
                "Richter",
            ),
            "did": ("findet", "verkauft", "malt", "vergisst", "trägt", "sucht", "putzt", "verliert"),
            "thing": ("Brief", "Stuhl", "Korb", "Mantel", "Hut", "Schlüssel", "Teller", "Schrank", "Ball", "Stift"),
            "things": ("Briefe", "Stühle", "Körbe", "Mäntel", "Hüte", "Schlüssel", "Teller", "Stifte"),
            "place": ("Markt", "Bahnhof", "Hof", "Platz", "Dachboden", "Balkon", "Turm", "Berg"),
            "time": ("Morgen", "Abend", "Montag", "Freitag", "Monat", "Sonntag"),
            "season": ("Frühling", "Sommer", "Herbst", "Winter"),
            "weather": ("warm", "kalt", "nass", "windig", "trocken", "neblig"),
            "number": ("zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht"),
            "colour": ("rot", "blau", "grün", "gelb", "weiß", "schwarz", "braun"),
        },
        "es": {
            "patterns": (
                "El {person} {did} el {thing} en el {place}",
                "Cada {time} el {person} va al {place}",
                "Mi {person} tiene {number} {things} y un {thing}",
                "En {country} el {season} es {weather}",
                "Viajamos por {country} durante {number} semanas",
                "Un {person} de {country} nos mandó un {thing}",
                "El {thing} de la mesa es {colour}",
                "El día era {weather} cuando el {person} dejó el {place}",
                "Venden un {thing} {colour} en el {place}",
                "Nadie en el {place} {did} el {thing} {colour}",
                "El clima de {country} suele ser {weather} en {season}",
                "¿Prefieres el {thing} {colour} o el {thing} del {person}?",
            ),
            "person": (
                "maestro",
                "granjero",
                "médico",
                "vecino",
                "niño",
                "pintor",
                "primo",
                "panadero",
                "marinero",
                "juez",
            ),
            "did": ("encontró", "vendió", "pintó", "olvidó", "llevó", "buscó", "limpió", "perdió"),
            "thing": ("libro", "cesto", "abrigo", "reloj", "sombrero", "cuadro", "vaso", "zapato", "banco", "papel"),
            "things": ("libros", "cestos", "abrigos", "relojes", "sombreros", "cuadros", "vasos", "zapatos"),
            "place": ("mercado", "jardín", "puerto", "pueblo", "museo", "parque", "patio", "mirador"),
            "time": ("mañana", "noche", "lunes", "viernes", "semana", "mes"),
            "season": ("verano", "otoño", "invierno"),
            "weather": ("cálido", "frío", "lluvioso", "ventoso", "seco", "gris"),
            "number": ("dos", "tres", "cuatro", "cinco", "seis", "siete", "ocho"),
            "colour": ("rojo", "verde", "amarillo", "blanco", "negro", "marrón", "azul"),
        },
    }
)


def sentence(lang: str, countries: Sequence[str], generator: random.Random) -> str:
    """One sentence of the language's grammar, every slot filled at random."""
    grammar = GRAMMARS[lang]

    def fill(match: re.Match[str]) -> str:
        return generator.choice(countries if match[1] == "country" else grammar[match[1]])

    return _SLOT.sub(fill, generator.choice(grammar["patterns"]))
