//! The questions that a person is asked about the machine, each until its answer is sound.

use spec::SecretText;

use super::ask::Person;
use super::settings::{Settings, Wifi};
use crate::failure::Failure;
use crate::terminal::say;

impl Settings {
    /// Asks a person for them; `None` where the image's are good enough.
    ///
    /// # Errors
    /// Ctrl-C.
    pub(super) fn ask(person: &Person<'_>) -> Result<Option<Self>, Failure> {
        let wanted = person.ask("Set it up now? [Y/n]")?;
        if !wanted.is_some_and(|answer| ["", "y", "yes"].contains(&answer.to_lowercase().as_str())) {
            return Ok(None);
        }
        let mut settings = Self::default();
        settings.question(person, "hostname [llmbasedos]:", |settings, answer| settings.hostname = answer)?;
        settings.question(person, "name of the Wi-Fi [none: a cable]:", |settings, answer| {
            settings.wifi = answer.map(|name| Wifi { name, ..Wifi::default() });
        })?;
        if settings.wifi.is_some() {
            settings.ask_wifi(person)?;
        }
        settings.ask_address(person)?;
        settings.ask_setup_passphrase(person)?;
        settings.question(person, "set-up code [it makes one and shows it on its screen]:", |settings, answer| {
            settings.setup_code = answer.map(SecretText::new);
        })?;
        Ok(Some(settings))
    }

    fn ask_wifi(&mut self, person: &Person<'_>) -> Result<(), Failure> {
        self.secret_question(person, "its passphrase, not shown [none: an open network]:", |settings, answer| {
            if let Some(wifi) = &mut settings.wifi {
                wifi.passphrase = answer.map(SecretText::new);
            }
        })?;
        self.question(person, "your country, such as DE [not said]:", |settings, answer| {
            if let Some(wifi) = &mut settings.wifi {
                wifi.country = answer.map(|country| country.to_uppercase());
            }
        })
    }

    fn ask_address(&mut self, person: &Person<'_>) -> Result<(), Failure> {
        self.question(person, "address [dhcp]:", |settings, answer| settings.address = answer)?;
        if self.address.as_deref().is_none_or(|address| address == "dhcp") {
            return Ok(());
        }
        self.question(person, "router [none]:", |settings, answer| settings.router = answer)?;
        self.question(person, "name server [none]:", |settings, answer| settings.dns = answer.into_iter().collect())
    }

    /// Without a cable it is set up through a Wi-Fi of its own, and without a screen nobody sees what opens that.
    fn ask_setup_passphrase(&mut self, person: &Person<'_>) -> Result<(), Failure> {
        let question =
            "passphrase of its own Wi-Fi for the set-up, not shown [it makes one and shows it on its screen]:";
        self.secret_question(person, question, |settings, answer| {
            settings.setup_passphrase = answer.map(SecretText::new);
        })
    }

    /// Asks until the answer is sound; nothing means what stands in brackets.
    fn question(
        &mut self,
        person: &Person<'_>,
        question: &str,
        set: impl Fn(&mut Self, Option<String>),
    ) -> Result<(), Failure> {
        self.settle(|| person.ask(&format!("  {question}")), set)
    }

    /// The same for an answer that is not to be seen.
    fn secret_question(
        &mut self,
        person: &Person<'_>,
        question: &str,
        set: impl Fn(&mut Self, Option<String>),
    ) -> Result<(), Failure> {
        self.settle(|| person.ask_secretly(&format!("  {question}")), set)
    }

    fn settle(
        &mut self,
        ask: impl Fn() -> Result<Option<String>, Failure>,
        set: impl Fn(&mut Self, Option<String>),
    ) -> Result<(), Failure> {
        loop {
            set(self, ask()?.filter(|answer| !answer.is_empty()));
            match self.problems() {
                None => return Ok(()),
                Some(problems) => say(format_args!("    {problems}")),
            }
        }
    }
}
