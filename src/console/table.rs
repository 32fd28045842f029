//! Tables, and the way to their next page.

use maud::{Markup, html};

/// The head of a column.
pub struct ListColumn<'a> {
    word: &'a str,
    /// Where its link leads, and how it is sorted already: a value of `aria-sort`.
    sort: Option<(String, Option<&'static str>)>,
}

impl<'a> ListColumn<'a> {
    /// A column that nothing is sorted by.
    pub fn new(word: &'a str) -> Self {
        Self { word, sort: None }
    }

    /// One that leads to the list sorted by it. `is_sorted` is a value of `aria-sort`.
    pub fn sorted(word: &'a str, target: String, is_sorted: Option<&'static str>) -> Self {
        Self {
            word,
            sort: Some((target, is_sorted)),
        }
    }

    fn head(&self) -> Markup {
        let Some((target, is_sorted)) = &self.sort else {
            return html! { th role="columnheader" scope="col" { (self.word) } };
        };
        let arrow = match is_sorted {
            Some("ascending") => " ↑",
            Some(_) => " ↓",
            None => "",
        };
        html! {
            th role="columnheader" scope="col" aria-sort=[*is_sorted] {
                a href=(target) { (self.word) span aria-hidden="true" { (arrow) } }
            }
        }
    }
}

/// A table that reads as one list on a narrow screen. The first cell of a row names it.
pub fn table(caption: &str, heads: &[&str], rows: Vec<Vec<Markup>>, empty: &str) -> Markup {
    let columns: Vec<_> = heads.iter().map(|head| ListColumn::new(head)).collect();
    sorted_table(caption, &columns, &rows, html! { (empty) })
}

/// The same, with columns that it can be sorted by.
pub fn sorted_table(
    caption: &str,
    columns: &[ListColumn<'_>],
    rows: &[Vec<Markup>],
    empty: Markup,
) -> Markup {
    let word = |i: usize| columns.get(i).map_or("", |c| c.word);
    html! {
        @if rows.is_empty() {
            div.empty { (empty) }
        } @else {
            table.list role="table" aria-label=(caption) {
                thead role="rowgroup" {
                    tr role="row" { @for column in columns { (column.head()) } }
                }
                tbody role="rowgroup" {
                    @for row in rows {
                        tr role="row" {
                            @for (i, cell) in row.iter().enumerate() {
                                @if i == 0 {
                                    th role="rowheader" scope="row" { (cell) }
                                } @else {
                                    td role="cell" data-label=(word(i)) { div { (cell) } }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// To the next page of a list.
pub fn pager(first: Option<String>, next: Option<String>) -> Markup {
    html! {
        @if first.is_some() || next.is_some() {
            nav.pager aria-label="Pages" {
                @if let Some(first) = first { a.button.quiet href=(first) { "First page" } }
                @if let Some(next) = next { a.button.quiet href=(next) rel="next" { "Next page" } }
            }
        }
    }
}
