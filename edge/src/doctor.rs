//! `edge doctor`: what keeps an application from being built and served, and what helps.
//!
//! As Spin's doctor it looks at the manifest's version, at the manifest as a whole, at the
//! tools that its builds need, and at the files that it names. What it can treat it treats
//! when told to. It does NOT compile or serve.

mod files;
mod tools;
mod version;

use crate::cli::{DoctorOptions, Failure};
use crate::log::say;
use crate::manifest::Manifest;
use std::path::{Path, PathBuf};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Severity {
    /// The application works, and could be better.
    Advice,
    /// The application cannot be built or served.
    Critical,
}

/// What helps.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Treatment {
    /// Only a person can; this says how.
    ByHand(String),
    /// The manifest's text becomes this.
    Rewrite { summary: String, text: String },
    /// This command is run, in this folder.
    Run {
        program: String,
        arguments: Vec<String>,
        folder: PathBuf,
    },
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Diagnosis {
    severity: Severity,
    what: String,
    treatment: Treatment,
}

/// A treatment may uncover the next trouble; after so many there is no end to it.
const TREATMENTS_MAX: usize = 64;

/// `edge doctor`.
pub(crate) fn doctor(options: &DoctorOptions) -> Result<(), Failure> {
    let from = &options.source.from;
    let file = match from.is_dir() {
        true => from.join("spin.toml"),
        false => from.clone(),
    };
    say(&format!("Checking {}", file.display()));
    let profile = options.source.profile.as_deref();
    let mut treated = Vec::new();
    loop {
        let found = examine(&file, profile)?;
        let next = found.iter().find(|d| options.fix && !treated.contains(*d));
        let next = next.filter(|_| treated.len() < TREATMENTS_MAX);
        let treatable = next.filter(|d| !matches!(d.treatment, Treatment::ByHand(_)));
        if let Some(diagnosis) = treatable {
            say(&format!("\nDiagnosis: {}", diagnosis.what));
            treat(diagnosis, &file)?;
            treated.push(diagnosis.clone());
            continue;
        }
        if let Some(by_hand) = next {
            treated.push(by_hand.clone());
            continue;
        }
        return conclude(&found);
    }
}

/// Says what is left; advice alone is no failure.
fn conclude(found: &[Diagnosis]) -> Result<(), Failure> {
    for diagnosis in found {
        let kind = match diagnosis.severity {
            Severity::Advice => "Advice",
            Severity::Critical => "Diagnosis",
        };
        say(&format!("\n{kind}: {}", diagnosis.what));
        say(&format!("  {}", diagnosis.treatment.summary()));
    }
    let critical = found.iter().filter(|d| d.severity == Severity::Critical);
    match (critical.count(), found.len()) {
        (0, 0) => say("No problems found."),
        (0, _) => {}
        (1, _) => return Err(Failure::Run("1 problem is left".to_owned())),
        (count, _) => return Err(Failure::Run(format!("{count} problems are left"))),
    }
    Ok(())
}

/// All that is wrong now. What stands on something that is wrong itself is not looked at.
fn examine(file: &Path, profile: Option<&str>) -> Result<Vec<Diagnosis>, Failure> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| Failure::Config(format!("{}: {error}", file.display())))?;
    if let Some(diagnosis) = version::diagnose(&text) {
        return Ok(vec![diagnosis]);
    }
    let manifest = match Manifest::load(file, profile) {
        Ok(manifest) => manifest,
        Err(error) => {
            return Ok(vec![Diagnosis {
                severity: Severity::Critical,
                what: format!("The manifest is not valid: {error}"),
                treatment: Treatment::ByHand("Correct that key.".to_owned()),
            }]);
        }
    };
    let mut found = tools::diagnose(&manifest);
    found.extend(files::diagnose(&manifest, file, profile));
    Ok(found)
}

fn treat(diagnosis: &Diagnosis, file: &Path) -> Result<(), Failure> {
    say(&format!("  {}", diagnosis.treatment.summary()));
    match &diagnosis.treatment {
        Treatment::ByHand(_) => Ok(()),
        Treatment::Rewrite { text, .. } => {
            let failed =
                |error: std::io::Error| Failure::Run(format!("{}: {error}", file.display()));
            std::fs::write(file, text).map_err(failed)?;
            say("  Done.");
            Ok(())
        }
        Treatment::Run {
            program,
            arguments,
            folder,
        } => {
            let status = std::process::Command::new(program)
                .args(arguments)
                .current_dir(folder)
                .stdin(std::process::Stdio::null())
                .status();
            match status {
                Ok(status) if status.success() => say("  Done."),
                Ok(status) => say(&format!("  It ended with {status}.")),
                Err(error) => say(&format!("  {program}: {error}")),
            }
            Ok(())
        }
    }
}

impl Treatment {
    fn summary(&self) -> String {
        match self {
            Self::ByHand(how) => how.clone(),
            Self::Rewrite { summary, .. } => summary.clone(),
            Self::Run {
                program, arguments, ..
            } => {
                let name = Path::new(program).file_name().unwrap_or(program.as_ref());
                format!("Run `{} {}`.", name.display(), arguments.join(" "))
            }
        }
    }
}
