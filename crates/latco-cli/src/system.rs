//! What the system says, in words.

use std::io::{self, ErrorKind};

/// What the standard library puts around the number behind the system's message.
const NUMBER: [&str; 2] = [" (os error ", ")"];

/// `text` with each message of the system, such as `Not a directory (os error 20)`, in words that tell what is
/// wrong or what to do.
pub fn in_words(text: &str) -> String {
    let [before, after] = NUMBER;
    let Some((head, tail)) = text.split_once(before) else {
        return text.to_owned();
    };
    let Some((number, tail)) = tail.split_once(after) else {
        return text.to_owned();
    };
    let Ok(number) = number.parse() else {
        return text.to_owned();
    };
    let error = io::Error::from_raw_os_error(number);
    let message = error.to_string();
    let message = message.split(before).next().unwrap_or_default();
    let head = match (words(error.kind()), head.strip_suffix(message)) {
        (Some(words), Some(head)) => format!("{head}{words}"),
        _ => head.to_owned(),
    };
    head + &in_words(tail)
}

fn words(kind: ErrorKind) -> Option<&'static str> {
    Some(match kind {
        ErrorKind::NotFound => "there is no such file or folder",
        ErrorKind::NotADirectory => "part of the path is a file, expected a folder",
        ErrorKind::IsADirectory => "a folder, expected a file",
        ErrorKind::PermissionDenied => "not permitted: check who may use the file and its folder",
        ErrorKind::ReadOnlyFilesystem => "the disk is read-only, choose another place",
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "no space is left on the disk",
        ErrorKind::FileTooLarge => "a file may not become as large here",
        ErrorKind::InvalidFilename => "a name that is too long or not allowed here",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(kind: ErrorKind) -> String {
        // Numbers differ from system to system.
        let numbers = (1..256).map(io::Error::from_raw_os_error);
        let found = numbers.into_iter().find(|error| error.kind() == kind);
        found.unwrap().to_string()
    }

    #[test]
    fn messages_of_the_system_become_words() {
        let text = format!(
            "x/y: {} (expected a run), z: {}",
            raw(ErrorKind::NotFound),
            raw(ErrorKind::PermissionDenied)
        );
        assert_eq!(
            in_words(&text),
            "x/y: there is no such file or folder (expected a run), \
             z: not permitted: check who may use the file and its folder"
        );
    }

    #[test]
    fn other_texts_stay_and_numbers_without_words_go() {
        assert_eq!(
            in_words("seed 3 (os error of a kind)"),
            "seed 3 (os error of a kind)"
        );
        let broken = raw(ErrorKind::BrokenPipe);
        assert!(!in_words(&broken).contains("os error"), "{broken}");
    }
}
