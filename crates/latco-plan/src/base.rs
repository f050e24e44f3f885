use std::ops::Deref;

use crate::LatentModel;

/// The model that another one is built on: the caller's, or its prepared form.
pub(crate) enum Base<'a> {
    Borrowed(&'a dyn LatentModel),
    Owned(Box<dyn LatentModel + 'a>),
}

impl<'a> Deref for Base<'a> {
    type Target = dyn LatentModel + 'a;

    fn deref(&self) -> &Self::Target {
        match self {
            Self::Borrowed(model) => *model,
            Self::Owned(model) => model.as_ref(),
        }
    }
}
