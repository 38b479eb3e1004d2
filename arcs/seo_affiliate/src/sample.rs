//! Articles for tests: as a good model would write them.

use crate::article::{Answered, Article, Section};
use crate::site::Site;

/// Two articles, the newer one first.
pub(crate) fn articles() -> [Article; 2] {
    [
        article("How to Move Coins from an Exchange to Your Wallet", 1_795_392_000),
        article("Why a Seed Phrase Belongs on Paper", 1_795_300_000),
    ]
}

/// A site with both.
pub(crate) fn site() -> Site {
    let mut site = Site::new("crypto-beginner".parse().expect("a name"));
    let [newer, older] = articles();
    site.add(older);
    site.add(newer);
    site
}

fn article(title: &str, published: i64) -> Article {
    Article {
        slug: crate::slug::slug(title),
        title: title.to_owned(),
        description: format!("{title}: learn what to check first, what it costs and how to get back what you sent."),
        keyword: "self custody".to_owned(),
        lang: "en".to_owned(),
        model: "qwen2.5-coder-0.5b".to_owned(),
        published,
        modified: published,
        affiliate_link: Some("https://www.wallets.example/start?ref=luca&x=1".to_owned()),
        sections: ["Check the address twice", "Send a small amount first"].map(section).to_vec(),
        questions: vec![Answered {
            question: "How long does a transfer take?".to_owned(),
            answer:
                "Most transfers arrive within an hour. A busy network can take longer, and \"stuck\" coins come back."
                    .to_owned(),
        }],
    }
}

fn section(heading: &str) -> Section {
    Section {
        heading: heading.to_owned(),
        paragraphs: vec![
            format!(
                "{heading}, because nobody can call a transfer back. Compare the first & the last four characters."
            ),
            "It's a minute's work <and> it saves what you have.".to_owned(),
        ],
    }
}
