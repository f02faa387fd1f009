//! The functions and filters that transformers gives to chat templates.
//! Knows nothing of messages.

use std::io::{self, Write};

use minijinja::value::{Kwargs, Value};
use minijinja::{Error, ErrorKind};
use serde::Serialize;
use serde_json::Value as Json;
use serde_json::ser::{Formatter, Serializer};
use time::OffsetDateTime;

/// Marks the errors that a template raises itself.
pub(super) const RAISED: &str = "raised: ";

pub(super) fn raise_exception(message: String) -> Result<Value, Error> {
    Err(Error::new(
        ErrorKind::InvalidOperation,
        format!("{RAISED}{message}"),
    ))
}

/// A date as `strftime` writes it; `%-d` and its like write no leading zero.
pub(super) fn strftime(format: &str, now: OffsetDateTime) -> Result<String, Error> {
    let mut out = String::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let (code, padded) = match chars.next() {
            Some('-') => (chars.next(), false),
            code => (code, true),
        };
        let part = code.and_then(|code| conversion(code, now)).ok_or_else(|| {
            let problem = format!("strftime_now does not know %{}", code.unwrap_or(' '));
            Error::new(ErrorKind::InvalidOperation, problem)
        })?;
        out.push_str(match padded {
            true => &part,
            false => match part.trim_start_matches('0') {
                "" => "0",
                short => short,
            },
        });
    }
    Ok(out)
}

/// One conversion of C's `strftime`, in its locale.
fn conversion(code: char, now: OffsetDateTime) -> Option<String> {
    let short = |name: String| name.chars().take(3).collect::<String>();
    let hour12 = match now.hour() % 12 {
        0 => 12,
        hour => hour,
    };
    Some(match code {
        'Y' => now.year().to_string(),
        'y' => format!("{:02}", now.year().rem_euclid(100)),
        'm' => format!("{:02}", u8::from(now.month())),
        'd' => format!("{:02}", now.day()),
        'j' => format!("{:03}", now.ordinal()),
        'B' => now.month().to_string(),
        'b' => short(now.month().to_string()),
        'A' => now.weekday().to_string(),
        'a' => short(now.weekday().to_string()),
        'H' => format!("{:02}", now.hour()),
        'I' => format!("{hour12:02}"),
        'p' => if now.hour() < 12 { "AM" } else { "PM" }.to_owned(),
        'M' => format!("{:02}", now.minute()),
        'S' => format!("{:02}", now.second()),
        '%' => "%".to_owned(),
        _ => return None,
    })
}

/// `tojson` as transformers defines it: Python's `json.dumps` without ASCII escapes,
/// so with a space after commas and colons, and none of Jinja's HTML escapes.
pub(super) fn tojson(value: Value, options: Kwargs) -> Result<String, Error> {
    let bad = |e: &dyn std::fmt::Display| Error::new(ErrorKind::BadSerialization, e.to_string());
    let indent: Option<usize> = options.get("indent")?;
    let separators: Option<Vec<String>> = options.get("separators")?;
    let ascii = options
        .get::<Option<bool>>("ensure_ascii")?
        .unwrap_or(false);
    let sorted = options.get::<Option<bool>>("sort_keys")?.unwrap_or(false);
    options.assert_all_used()?;
    let mut json: Json = serde_json::to_value(&value).map_err(|e| bad(&e))?;
    if sorted {
        json.sort_all_objects();
    }
    let defaults = match indent {
        Some(_) => [",", ": "],
        None => [", ", ": "],
    };
    let separators = match separators.as_deref() {
        None => defaults.map(str::to_owned),
        Some([item, key]) => [item.clone(), key.clone()],
        Some(_) => return Err(bad(&"separators are two texts")),
    };
    let mut out = Vec::new();
    let style = Dumps {
        indent: indent.map(|width| width.min(INDENT_MAX)),
        separators,
        ascii,
        depth: 0,
        filled: false,
    };
    json.serialize(&mut Serializer::with_formatter(&mut out, style))
        .map_err(|e| bad(&e))?;
    String::from_utf8(out).map_err(|e| bad(&e))
}

/// More is a mistake, and could fill memory.
const INDENT_MAX: usize = 16;

/// Python's `json.dumps`.
struct Dumps {
    indent: Option<usize>,
    /// Between items, and between a key and its value.
    separators: [String; 2],
    ascii: bool,
    depth: usize,
    /// The array or object that is being closed has items.
    filled: bool,
}

impl Dumps {
    fn open<W: ?Sized + Write>(&mut self, w: &mut W, bracket: &str) -> io::Result<()> {
        self.depth += 1;
        self.filled = false;
        w.write_all(bracket.as_bytes())
    }

    fn item<W: ?Sized + Write>(&mut self, w: &mut W, first: bool) -> io::Result<()> {
        if !first {
            w.write_all(self.separators[0].as_bytes())?;
        }
        self.line(w)
    }

    fn close<W: ?Sized + Write>(&mut self, w: &mut W, bracket: &str) -> io::Result<()> {
        self.depth -= 1;
        if self.filled {
            self.line(w)?;
        }
        self.filled = true;
        w.write_all(bracket.as_bytes())
    }

    fn line<W: ?Sized + Write>(&self, w: &mut W) -> io::Result<()> {
        match self.indent {
            Some(width) => write!(w, "\n{:1$}", "", width * self.depth),
            None => Ok(()),
        }
    }
}

impl Formatter for Dumps {
    fn begin_array<W: ?Sized + Write>(&mut self, w: &mut W) -> io::Result<()> {
        self.open(w, "[")
    }

    fn end_array<W: ?Sized + Write>(&mut self, w: &mut W) -> io::Result<()> {
        self.close(w, "]")
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, w: &mut W, first: bool) -> io::Result<()> {
        self.item(w, first)
    }

    fn end_array_value<W: ?Sized + Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.filled = true;
        Ok(())
    }

    fn begin_object<W: ?Sized + Write>(&mut self, w: &mut W) -> io::Result<()> {
        self.open(w, "{")
    }

    fn end_object<W: ?Sized + Write>(&mut self, w: &mut W) -> io::Result<()> {
        self.close(w, "}")
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, w: &mut W, first: bool) -> io::Result<()> {
        self.item(w, first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, w: &mut W) -> io::Result<()> {
        w.write_all(self.separators[1].as_bytes())
    }

    fn end_object_value<W: ?Sized + Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.filled = true;
        Ok(())
    }

    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        w: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        if !self.ascii {
            return w.write_all(fragment.as_bytes());
        }
        let mut units = [0u16; 2];
        for c in fragment.chars() {
            if c.is_ascii() {
                write!(w, "{c}")?;
                continue;
            }
            for unit in c.encode_utf16(&mut units) {
                write!(w, "\\u{unit:04x}")?;
            }
        }
        Ok(())
    }
}
