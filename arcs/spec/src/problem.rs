//! What is wrong with a file: every problem at once, each with its line, its key and what would be right.

use std::fmt;
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet, renderer::DecorStyle};

/// One thing that is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The key as a reader would write it, `cage.memory_max`; empty for the file as a whole.
    pub key: String,
    /// What is wrong and what would be right, in words.
    pub message: String,
    /// Where: byte offsets into the source.
    pub span: Range<usize>,
}

/// Everything that is wrong with one file, in the order of its lines. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems {
    file: String,
    source: String,
    list: Vec<Problem>,
}

impl Problems {
    pub(crate) fn new(file: &str, source: &str, mut list: Vec<Problem>) -> Self {
        list.sort_by_key(|problem| problem.span.start);
        Self { file: file.to_owned(), source: source.to_owned(), list }
    }

    /// The problems, first line first.
    #[must_use]
    pub fn list(&self) -> &[Problem] {
        &self.list
    }

    /// The file's name as it was given to the parser.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The line (from 1) in which a problem stands.
    #[must_use]
    pub fn line_of(&self, problem: &Problem) -> usize {
        let end = problem.span.start.min(self.source.len());
        self.source.as_bytes().iter().take(end).filter(|&&byte| byte == b'\n').count() + 1
    }

    /// A picture with the lines quoted and the fault underlined; `colour` for a terminal.
    #[must_use]
    pub fn picture(&self, colour: bool) -> String {
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        let mut group = Group::with_title(Level::ERROR.primary_title(self.headline()));
        for problem in &self.list {
            let span = self.within(&problem.span);
            let annotation = AnnotationKind::Primary.span(span).label(problem.message.as_str());
            group =
                group.element(Snippet::source(self.source.as_str()).path(self.file.as_str()).annotation(annotation));
        }
        renderer.decor_style(DecorStyle::Unicode).render(&[group])
    }

    /// Every problem with its key and without its line, for a source that nobody wrote by hand.
    #[must_use]
    pub fn by_key(&self) -> String {
        let told = |problem: &Problem| match problem.key.as_str() {
            "" => format!("{}: {}", self.file, problem.message),
            key => format!("{} {key}: {}", self.file, problem.message),
        };
        self.list.iter().map(told).collect::<Vec<_>>().join("\n")
    }

    fn headline(&self) -> String {
        match self.list.len() {
            1 => format!("1 problem in {}", self.file),
            count => format!("{count} problems in {}", self.file),
        }
    }

    /// A span that is sure to lie within the source, on character boundaries.
    fn within(&self, span: &Range<usize>) -> Range<usize> {
        let start = floor_boundary(&self.source, span.start);
        let end = floor_boundary(&self.source, span.end).max(start);
        start..end
    }
}

fn floor_boundary(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|&index| text.is_char_boundary(index)).unwrap_or(0)
}

/// One line per problem, for a log: `arcs/weather.toml:4: activation: must be …`.
impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.list.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{}:{}: ", self.file, self.line_of(problem))?;
            if !problem.key.is_empty() {
                write!(f, "{}: ", problem.key)?;
            }
            f.write_str(&problem.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
