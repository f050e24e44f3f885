//! Paths with fields, as `videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4`.

/// A path template with its fields filled in; a field of another name stays as it is.
pub(super) fn filled(template: &str, video_key: &str, fields: &[(&str, usize)]) -> String {
    let mut path = template.replace("{video_key}", video_key);
    for &(name, value) in fields {
        path = path.replace(&format!("{{{name}}}"), &value.to_string());
        for width in 1..=9 {
            path = path.replace(
                &format!("{{{name}:0{width}d}}"),
                &format!("{value:0width$}"),
            );
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_filled_in() {
        let third = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4";
        let fields = [("chunk_index", 2), ("file_index", 1234)];
        assert_eq!(
            filled(third, "observation.images.top", &fields),
            "videos/observation.images.top/chunk-002/file-1234.mp4"
        );
        let second = "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4";
        let fields = [("episode_chunk", 0), ("episode_index", 7)];
        assert_eq!(
            filled(second, "top", &fields),
            "videos/chunk-000/top/episode_000007.mp4"
        );
    }
}
