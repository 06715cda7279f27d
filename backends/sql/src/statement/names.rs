//! Which words of a statement name tables. Knows as much grammar as that takes, and no more.
//!
//! A word names a table where a table must stand (after `from`, `join`, `into`, `update`, `table`, `references`, after a
//! comma in a `from` list, after `on` in a `create` statement) or where it qualifies a column (`messages.id`). The same
//! word elsewhere is a column or an alias and is left alone.

/// What a word turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// A table is named here.
    Table,
    /// A common table expression is given this name.
    Definition,
    /// A column, an alias, a function or a keyword.
    Other,
}

/// The state of one level of parentheses.
#[derive(Debug, Clone, Copy, Default)]
struct Level {
    /// The next name is that of a table.
    expects_table: bool,
    /// In a `from` list, where a comma is followed by another table.
    in_list: bool,
    /// Between `with` and the statement that it belongs to.
    in_with: bool,
}

/// Walks over the tokens of one statement.
#[derive(Debug)]
pub(crate) struct Names {
    levels: Vec<Level>,
    first_keyword: String,
    after_dot: bool,
    dotted_table: bool,
}

impl Names {
    pub(crate) fn new(first_keyword: &str) -> Self {
        Self {
            levels: vec![Level::default()],
            first_keyword: first_keyword.to_owned(),
            after_dot: false,
            dotted_table: false,
        }
    }

    /// An operator or a punctuation mark.
    pub(crate) fn symbol(&mut self, symbol: &str) {
        let top = self.top();
        match symbol {
            "(" => {
                // A parenthesis where a table is expected holds a join or a query.
                let inner = Level {
                    expects_table: top.expects_table,
                    in_list: top.expects_table,
                    in_with: false,
                };
                self.set(Level {
                    expects_table: false,
                    ..top
                });
                self.levels.push(inner);
            }
            ")" if self.levels.len() > 1 => {
                self.levels.pop();
            }
            "," if top.in_list => self.set(Level {
                expects_table: true,
                ..top
            }),
            ";" => self.levels = vec![Level::default()],
            _ => {}
        }
        if symbol == "." {
            self.after_dot = true;
        } else {
            self.after_dot = false;
            self.dotted_table = false;
        }
    }

    /// A word or a quoted name; `qualifies` says that a dot follows.
    pub(crate) fn name(&mut self, word: &str, quoted: bool, qualifies: bool) -> Role {
        let after_dot = std::mem::take(&mut self.after_dot);
        if !quoted && !after_dot && self.keyword(&word.to_ascii_lowercase()) {
            return Role::Other;
        }
        let top = self.top();
        if top.expects_table || (after_dot && self.dotted_table) {
            self.set(Level {
                expects_table: false,
                ..top
            });
            // In `main.messages` the first part is the schema; the table follows the dot.
            self.dotted_table = qualifies;
            return if qualifies { Role::Other } else { Role::Table };
        }
        self.dotted_table = false;
        if after_dot {
            Role::Other
        } else if qualifies {
            Role::Table
        } else if top.in_with {
            Role::Definition
        } else {
            Role::Other
        }
    }

    /// A literal, a number or a parameter.
    pub(crate) fn value(&mut self) {
        self.after_dot = false;
        let top = self.top();
        self.set(Level {
            expects_table: false,
            ..top
        });
    }

    /// Follows a keyword; false when the word is none that matters here.
    fn keyword(&mut self, word: &str) -> bool {
        let top = self.top();
        let next = match word {
            "from" | "join" => Level {
                expects_table: true,
                in_list: true,
                ..top
            },
            "into" | "update" | "table" | "references" => Level {
                expects_table: true,
                in_list: false,
                ..top
            },
            "on" => Level {
                expects_table: self.first_keyword == "create",
                in_list: false,
                ..top
            },
            "with" => Level {
                in_with: true,
                ..Level::default()
            },
            "select" | "insert" | "delete" | "values" => Level::default(),
            "where" | "group" | "order" | "limit" | "having" | "window" | "union" | "intersect"
            | "except" | "returning" | "set" | "do" | "begin" | "end" | "when" | "then" | "else" | "case"
            | "default" | "add" | "rename" | "drop" | "to" | "using" => Level {
                expects_table: false,
                in_list: false,
                ..top
            },
            // These stand between a keyword and the table.
            "only" | "if" | "not" | "exists" | "lateral" | "or" | "ignore" | "replace" | "rollback"
            | "abort" | "fail" | "of" | "as" | "recursive" | "materialized" | "inner" | "left" | "right"
            | "full" | "outer" | "cross" | "natural" => top,
            _ => return false,
        };
        self.set(next);
        true
    }

    fn top(&self) -> Level {
        self.levels.last().copied().unwrap_or_default()
    }

    fn set(&mut self, level: Level) {
        if let Some(top) = self.levels.last_mut() {
            *top = level;
        }
    }
}
