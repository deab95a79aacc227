//! PURE. Reads a field for what it should be, and anything else as nothing: a value of the wrong
//! type must not take the rest of the line with it.

use std::borrow::Cow;
use std::marker::PhantomData;

use jiff::Timestamp;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Text that mostly lies in the line itself, and is copied only where it has escapes.
pub(super) type Text<'a> = Cow<'a, str>;

/// A field that may hold anything. What does not fit is none.
pub(super) struct Field<T>(pub(super) Option<T>);

/// Which JSON values a type can be read from. The default is none of them.
pub(super) trait Fits<'de>: Sized {
    /// A string that stands in the line as it is.
    fn borrowed(text: &'de str) -> Option<Self> {
        Self::text(text)
    }

    fn text(_text: &str) -> Option<Self> {
        None
    }

    fn whole(_number: u64) -> Option<Self> {
        None
    }

    fn real(_number: f64) -> Option<Self> {
        None
    }

    fn flag(_flag: bool) -> Option<Self> {
        None
    }

    fn list<A: SeqAccess<'de>>(mut items: A) -> Result<Option<Self>, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn object<A: MapAccess<'de>>(mut fields: A) -> Result<Option<Self>, A::Error> {
        while fields.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(None)
    }
}

impl<T> Default for Field<T> {
    fn default() -> Field<T> {
        Field(None)
    }
}

impl<T: std::ops::Deref<Target = str>> Field<T> {
    pub(super) fn as_str(&self) -> &str {
        self.0.as_deref().unwrap_or_default()
    }
}

impl<'de, T: Fits<'de>> Deserialize<'de> for Field<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Field<T>, D::Error> {
        deserializer.deserialize_any(FieldVisitor(PhantomData)).map(Field)
    }
}

pub(super) struct FieldVisitor<T>(pub(super) PhantomData<T>);

impl<'de, T: Fits<'de>> Visitor<'de> for FieldVisitor<T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("anything")
    }

    fn visit_borrowed_str<E>(self, it: &'de str) -> Result<Option<T>, E> {
        Ok(T::borrowed(it))
    }

    fn visit_str<E>(self, it: &str) -> Result<Option<T>, E> {
        Ok(T::text(it))
    }

    fn visit_u64<E>(self, it: u64) -> Result<Option<T>, E> {
        Ok(T::whole(it))
    }

    fn visit_i64<E>(self, it: i64) -> Result<Option<T>, E> {
        Ok(T::real(it as f64))
    }

    fn visit_f64<E>(self, it: f64) -> Result<Option<T>, E> {
        Ok(T::real(it))
    }

    fn visit_bool<E>(self, it: bool) -> Result<Option<T>, E> {
        Ok(T::flag(it))
    }

    fn visit_unit<E>(self) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Option<T>, A::Error> {
        T::list(items)
    }

    fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<Option<T>, A::Error> {
        T::object(fields)
    }
}

impl Fits<'_> for bool {
    fn flag(flag: bool) -> Option<bool> {
        Some(flag)
    }
}

impl Fits<'_> for u64 {
    fn whole(number: u64) -> Option<u64> {
        Some(number)
    }

    fn real(number: f64) -> Option<u64> {
        (number >= 0.0 && number.fract() == 0.0).then_some(number as u64)
    }
}

impl Fits<'_> for f64 {
    fn whole(number: u64) -> Option<f64> {
        Some(number as f64)
    }

    fn real(number: f64) -> Option<f64> {
        Some(number)
    }
}

/// Names, ids and paths. What is longer than a path can be is none of these.
impl Fits<'_> for String {
    fn text(text: &str) -> Option<String> {
        is_name(text).then(|| text.to_owned())
    }
}

/// The same, for as long as the line is there.
impl<'de: 'a, 'a> Fits<'de> for Text<'a> {
    fn borrowed(text: &'de str) -> Option<Text<'a>> {
        is_name(text).then_some(Text::Borrowed(text))
    }

    fn text(text: &str) -> Option<Text<'a>> {
        String::text(text).map(Text::Owned)
    }
}

pub(super) fn is_name(text: &str) -> bool {
    text.len() <= 4096
}

/// A name that some writers write as a number.
pub(super) struct Word(pub(super) String);

impl Fits<'_> for Word {
    fn text(text: &str) -> Option<Word> {
        String::text(text).map(Word)
    }

    fn whole(number: u64) -> Option<Word> {
        Some(Word(number.to_string()))
    }
}

/// An instant, in Unix milliseconds, of writers that write seconds, milliseconds or text.
pub(super) struct Moment(pub(super) i64);

impl Fits<'_> for Moment {
    fn text(text: &str) -> Option<Moment> {
        text.parse::<Timestamp>().ok().map(|it| Moment(it.as_millisecond()))
    }

    fn whole(number: u64) -> Option<Moment> {
        Moment::real(number as f64)
    }

    fn real(number: f64) -> Option<Moment> {
        // As seconds this is the year 5138; as milliseconds, 1973.
        const MILLISECONDS_FROM: f64 = 1e11;
        let factor = if number < MILLISECONDS_FROM { 1000.0 } else { 1.0 };
        (number.is_finite() && number > 0.0).then_some(Moment((number * factor) as i64))
    }
}

pub(super) struct Object<T>(pub(super) T);

impl<'de, T: Deserialize<'de>> Fits<'de> for Object<T> {
    fn object<A: MapAccess<'de>>(fields: A) -> Result<Option<Object<T>>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(fields)).map(|it| Some(Object(it)))
    }
}

impl<'de, T: Fits<'de>> Fits<'de> for Vec<T> {
    fn list<A: SeqAccess<'de>>(mut items: A) -> Result<Option<Vec<T>>, A::Error> {
        let mut list = Vec::new();
        while let Some(Field(item)) = items.next_element()? {
            list.extend(item);
        }
        Ok(Some(list))
    }
}
