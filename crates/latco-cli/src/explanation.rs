//! A configuration as TOML with each setting's documentation above it.

use latco_agent::RunConfig;
use schemars::generate::SchemaSettings;
use serde_json::Value;

use crate::configuration::ConfigurationError;

/// Columns of a comment.
const WIDTH: usize = 96;

/// `config` as TOML that reads back as it was, every key and table explained in a comment.
pub fn explained(config: &RunConfig) -> Result<String, ConfigurationError> {
    let text = toml::to_string(config).map_err(|error| ConfigurationError::Value {
        origin: "configuration".to_owned(),
        reason: error.to_string(),
    })?;
    let schema = schema();
    let mut table = String::new();
    let mut lines = Vec::new();
    for line in text.lines() {
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
        {
            table = format!("{name}.");
            lines.extend(comment(&schema, name));
        } else if let Some((name, _)) = line.split_once(" = ") {
            lines.extend(comment(&schema, &format!("{table}{name}")));
        }
        lines.push(line.to_owned());
    }
    Ok(lines.join("\n") + "\n")
}

/// What the types say of their fields, every type in its place.
fn schema() -> Value {
    let settings = SchemaSettings::default().with(|settings| settings.inline_subschemas = true);
    settings
        .into_generator()
        .into_root_schema_for::<RunConfig>()
        .to_value()
}

/// The lines that explain a dotted key, and the values where it has a few to choose from.
fn comment(schema: &Value, key: &str) -> Vec<String> {
    let Some(found) = key.split('.').try_fold(schema, property) else {
        return Vec::new();
    };
    let mut lines = wrapped(description(found), "# ");
    for choice in found["oneOf"].as_array().into_iter().flatten() {
        let name = choice["const"].as_str().unwrap_or_default();
        lines.extend(wrapped(&format!("{name}: {}", description(choice)), "#   "));
    }
    lines
}

fn property<'a>(schema: &'a Value, name: &str) -> Option<&'a Value> {
    schema.get("properties")?.get(name)
}

fn description(schema: &Value) -> &str {
    schema["description"].as_str().unwrap_or_default()
}

/// `text` in lines of at most [`WIDTH`] columns, each beginning with `prefix`.
fn wrapped(text: &str, prefix: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= WIDTH => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(format!("{prefix}{word}")),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach() -> RunConfig {
        let environment = latco_env::make("reach", &latco_env::EnvOptions::default()).unwrap();
        RunConfig::small(environment.as_ref())
    }

    #[test]
    fn every_line_of_the_configuration_has_a_comment_above() {
        let config = reach();
        let text = explained(&config).unwrap();
        let lines: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
        assert!(lines[0].starts_with("# "), "{text}");
        for pair in lines.windows(2) {
            let explained = pair.iter().any(|line| line.starts_with('#'));
            assert!(explained, "`{}` is not explained", pair[1]);
        }
        assert!(lines.iter().all(|line| line.chars().count() <= WIDTH));
        assert_eq!(toml::from_str::<RunConfig>(&text).unwrap(), config);
    }

    #[test]
    fn comments_are_the_documentation_of_the_settings() {
        let text = explained(&reach()).unwrap();
        assert!(
            text.contains("# Adam's step size.\nlearning_rate = 0.001"),
            "{text}"
        );
        assert!(text.contains("#   bernoulli: "), "{text}");
    }
}
