//! The words of a page that are ours, in the languages that we speak, and dates in them.

use serde::Serialize;
use time::{Date, OffsetDateTime};

/// Our words in one language.
#[derive(Debug, Serialize)]
pub(crate) struct Labels {
    /// The language of these words, `en`.
    pub(crate) lang: &'static str,
    /// How the model is told to write it.
    #[serde(skip)]
    pub(crate) english_name: &'static str,
    pub(crate) home: &'static str,
    pub(crate) in_short: &'static str,
    pub(crate) contents: &'static str,
    pub(crate) questions: &'static str,
    pub(crate) related: &'static str,
    pub(crate) all_articles: &'static str,
    pub(crate) newer: &'static str,
    pub(crate) older: &'static str,
    pub(crate) minutes: &'static str,
    pub(crate) skip: &'static str,
    pub(crate) updated: &'static str,
    pub(crate) partner: &'static str,
    pub(crate) disclosure: &'static str,
    pub(crate) written_by: &'static str,
    pub(crate) unchecked: &'static str,
    pub(crate) feed: &'static str,
    pub(crate) articles_on: &'static str,
    #[serde(skip)]
    months: [&'static str; 12],
    /// Between the parts of a date: `23 November 2026`, `23. November 2026`, `23 de noviembre de 2026`.
    #[serde(skip)]
    date: [&'static str; 2],
}

const ENGLISH: Labels = Labels {
    lang: "en",
    english_name: "English",
    home: "Home",
    in_short: "In short",
    contents: "On this page",
    questions: "Questions and answers",
    related: "Read next",
    all_articles: "All articles",
    newer: "Newer articles",
    older: "Older articles",
    minutes: "min read",
    skip: "Skip to the text",
    updated: "updated",
    partner: "Partner offer",
    disclosure: "Advertisement: if you buy or sign up through this link, this site may earn a commission. It costs you \
                 nothing extra.",
    written_by: "Written by the language model",
    unchecked: "Nobody has checked it: look up what matters before you rely on it.",
    feed: "RSS feed",
    articles_on: "Articles on",
    months: [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ],
    date: [" ", " "],
};

const FRENCH: Labels = Labels {
    lang: "fr",
    english_name: "French",
    home: "Accueil",
    in_short: "En bref",
    contents: "Sur cette page",
    questions: "Questions et réponses",
    related: "À lire ensuite",
    all_articles: "Tous les articles",
    newer: "Articles plus récents",
    older: "Articles plus anciens",
    minutes: "min de lecture",
    skip: "Aller au texte",
    updated: "mis à jour le",
    partner: "Offre partenaire",
    disclosure: "Publicité : si vous achetez ou vous inscrivez par ce lien, ce site peut toucher une commission. Cela \
                 ne vous coûte rien de plus.",
    written_by: "Écrit par le modèle de langage",
    unchecked: "Personne ne l’a vérifié : contrôlez ce qui compte avant de vous y fier.",
    feed: "Flux RSS",
    articles_on: "Articles sur",
    months: [
        "janvier",
        "février",
        "mars",
        "avril",
        "mai",
        "juin",
        "juillet",
        "août",
        "septembre",
        "octobre",
        "novembre",
        "décembre",
    ],
    date: [" ", " "],
};

const GERMAN: Labels = Labels {
    lang: "de",
    english_name: "German",
    home: "Startseite",
    in_short: "Kurz gesagt",
    contents: "Auf dieser Seite",
    questions: "Fragen und Antworten",
    related: "Weiterlesen",
    all_articles: "Alle Artikel",
    newer: "Neuere Artikel",
    older: "Ältere Artikel",
    minutes: "Min. Lesezeit",
    skip: "Zum Text",
    updated: "aktualisiert am",
    partner: "Partnerangebot",
    disclosure: "Anzeige: Wer über diesen Link kauft oder sich anmeldet, bringt dieser Seite unter Umständen eine \
                 Provision. Mehrkosten entstehen nicht.",
    written_by: "Geschrieben vom Sprachmodell",
    unchecked: "Niemand hat es geprüft: Wichtiges bitte nachschlagen.",
    feed: "RSS-Feed",
    articles_on: "Artikel über",
    months: [
        "Januar",
        "Februar",
        "März",
        "April",
        "Mai",
        "Juni",
        "Juli",
        "August",
        "September",
        "Oktober",
        "November",
        "Dezember",
    ],
    date: [". ", " "],
};

const SPANISH: Labels = Labels {
    lang: "es",
    english_name: "Spanish",
    home: "Inicio",
    in_short: "En pocas palabras",
    contents: "En esta página",
    questions: "Preguntas y respuestas",
    related: "Sigue leyendo",
    all_articles: "Todos los artículos",
    newer: "Artículos más recientes",
    older: "Artículos anteriores",
    minutes: "min de lectura",
    skip: "Ir al texto",
    updated: "actualizado el",
    partner: "Oferta de un socio",
    disclosure: "Publicidad: si compras o te registras con este enlace, este sitio puede recibir una comisión. A ti no \
                 te cuesta nada más.",
    written_by: "Escrito por el modelo de lenguaje",
    unchecked: "Nadie lo ha revisado: comprueba lo importante antes de fiarte.",
    feed: "Canal RSS",
    articles_on: "Artículos sobre",
    months: [
        "enero",
        "febrero",
        "marzo",
        "abril",
        "mayo",
        "junio",
        "julio",
        "agosto",
        "septiembre",
        "octubre",
        "noviembre",
        "diciembre",
    ],
    date: [" de ", " de "],
};

/// Our words for a language tag; English where we do not speak the language.
pub(crate) fn labels(lang: &str) -> &'static Labels {
    let primary = lang.split('-').next().unwrap_or(lang);
    [&FRENCH, &GERMAN, &SPANISH]
        .into_iter()
        .find(|labels| labels.lang.eq_ignore_ascii_case(primary))
        .unwrap_or(&ENGLISH)
}

/// How the model is told in which language to write.
pub(crate) fn language_name(lang: &str) -> String {
    let labels = labels(lang);
    let known = lang.get(..2).is_some_and(|primary| primary.eq_ignore_ascii_case(labels.lang));
    if known { labels.english_name.to_owned() } else { format!("the language with the code {lang}") }
}

impl Labels {
    /// A day for readers: `23 November 2026`.
    pub(crate) fn day(&self, date: Date) -> String {
        let [first, second] = self.date;
        let month = self.months.get(usize::from(u8::from(date.month())) - 1).copied().unwrap_or_default();
        format!("{}{first}{month}{second}{}", date.day(), date.year())
    }
}

/// A moment that is kept as seconds since 1970.
pub(crate) fn moment(seconds: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_written_as_readers_expect() {
        let day = |lang: &str| labels(lang).day(moment(1_795_392_000).date());
        assert_eq!(day("en-GB"), "23 November 2026");
        assert_eq!(day("de"), "23. November 2026");
        assert_eq!(day("es"), "23 de noviembre de 2026");
        assert_eq!(day("pt"), "23 November 2026");
    }

    #[test]
    fn the_model_is_told_the_language_by_name_where_we_know_it() {
        assert_eq!(language_name("fr-CA"), "French");
        assert_eq!(language_name("pt-BR"), "the language with the code pt-BR");
    }
}
