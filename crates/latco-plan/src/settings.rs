use std::any::{Any, type_name};

use serde::{Deserializer, Serialize, de::DeserializeOwned, de::Error as _};

use crate::solve::Method;

/// The settings of some method, whichever it is: they can be copied, compared, written and read.
///
/// Every [`Method`] has them that is a value of serde's.
pub trait Settings: Method + erased_serde::Serialize + Any {
    /// The name of the method's type, with its path where that is generic.
    fn method(&self) -> &'static str;

    /// A copy.
    fn boxed(&self) -> Box<dyn Settings>;

    /// Whether `other` are the same settings of the same method.
    fn equals(&self, other: &dyn Settings) -> bool;

    /// As [`read`](#method.read), from values of any format.
    ///
    /// # Errors
    ///
    /// If there is a setting that the method does not have, or one of another type.
    fn read_erased(
        &self,
        values: &mut dyn erased_serde::Deserializer<'_>,
    ) -> erased_serde::Result<Box<dyn Settings>>;
}

impl<T: Method + Clone + PartialEq + Serialize + DeserializeOwned + 'static> Settings for T {
    fn method(&self) -> &'static str {
        let whole = type_name::<T>();
        match whole.contains('<') {
            true => whole,
            false => whole.rsplit("::").next().unwrap_or(whole),
        }
    }

    fn boxed(&self) -> Box<dyn Settings> {
        Box::new(self.clone())
    }

    fn equals(&self, other: &dyn Settings) -> bool {
        let other: &dyn Any = other;
        other.downcast_ref::<T>() == Some(self)
    }

    fn read_erased(
        &self,
        values: &mut dyn erased_serde::Deserializer<'_>,
    ) -> erased_serde::Result<Box<dyn Settings>> {
        Ok(Box::new(erased_serde::deserialize::<T>(values)?))
    }
}

erased_serde::serialize_trait_object!(Settings);

impl dyn Settings {
    /// Settings of the same method from what `values` say; those that they leave out are the defaults of the
    /// method's type, not those of `self`: planners such as `ilqr` and `latco-gaussian`, which differ from
    /// them, are read from all of their settings.
    ///
    /// # Errors
    ///
    /// If there is a setting that the method does not have, or one of another type.
    pub fn read<'de, D: Deserializer<'de>>(&self, values: D) -> Result<Box<Self>, D::Error> {
        let mut values = <dyn erased_serde::Deserializer<'_>>::erase(values);
        self.read_erased(&mut values).map_err(D::Error::custom)
    }

    /// The same settings for plans of `horizon` steps.
    pub fn with_horizon(&self, horizon: usize) -> Box<Self> {
        let mut changed = self.boxed();
        changed.set_horizon(horizon);
        changed
    }
}

impl Clone for Box<dyn Settings> {
    fn clone(&self) -> Self {
        self.as_ref().boxed()
    }
}

impl PartialEq for dyn Settings {
    fn eq(&self, other: &Self) -> bool {
        self.equals(other)
    }
}
