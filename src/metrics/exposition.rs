//! PURE. The classic text format of Prometheus, which the textfile collector of node_exporter
//! reads. That collector refuses OpenMetrics, the newer format.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Names and values of labels, in the order in which they are written. The names are ours.
pub(super) type Labels = Vec<(&'static str, String)>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It never decreases.
    Counter,
    Gauge,
}

/// All samples with one name.
#[derive(Clone, Debug)]
pub(super) struct Family {
    name: &'static str,
    kind: Kind,
    help: &'static str,
    /// By labels: Prometheus refuses a file in which a sample stands twice.
    samples: BTreeMap<Labels, f64>,
}

impl Family {
    pub(super) fn new(name: &'static str, kind: Kind, help: &'static str) -> Family {
        Family { name, kind, help, samples: BTreeMap::new() }
    }

    /// Adds a sample. A value that is not finite says nothing, and is left out.
    pub(super) fn add(&mut self, labels: Labels, value: f64) {
        if value.is_finite() {
            self.samples.insert(labels, value);
        }
    }
}

/// The content of a file. A family without samples is left out.
pub(super) fn write(families: &[Family]) -> String {
    let mut out = String::new();
    for Family { name, kind, help, samples } in families.iter().filter(|it| !it.samples.is_empty())
    {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}").expect("a string takes it");
        for (labels, value) in samples {
            let labels: Vec<_> =
                labels.iter().map(|(name, text)| format!("{name}=\"{}\"", escaped(text))).collect();
            let labels = labels.join(",");
            writeln!(out, "{name}{{{labels}}} {value}").expect("a string takes it");
        }
    }
    out
}

/// The value of a label between its quotes.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gauge(samples: &[(&str, f64)]) -> Family {
        let mut family = Family::new("a_ratio", Kind::Gauge, "A share.");
        for (user, value) in samples {
            family.add(vec![("user", (*user).to_owned())], *value);
        }
        family
    }

    #[test]
    fn each_family_has_one_head_and_each_sample_one_line() {
        let mut total = Family::new("b_total", Kind::Counter, "A sum.");
        total.add(Vec::new(), 12_345_678_901_234.0);
        let text = write(&[gauge(&[("u", 0.1), ("v", 1.0), ("u", 0.5)]), total, gauge(&[])]);
        let expected = "# HELP a_ratio A share.\n# TYPE a_ratio gauge\na_ratio{user=\"u\"} 0.5\n\
                        a_ratio{user=\"v\"} 1\n# HELP b_total A sum.\n# TYPE b_total counter\n\
                        b_total{} 12345678901234\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn what_would_end_a_label_is_escaped() {
        let text = write(&[gauge(&[("a\"} 1\nb\\", 1.0)])]);
        let sample = text.lines().last().unwrap();
        assert_eq!(sample, r#"a_ratio{user="a\"} 1\nb\\"} 1"#);
    }

    #[test]
    fn a_value_that_is_not_finite_is_left_out() {
        assert_eq!(write(&[gauge(&[("u", f64::NAN), ("v", f64::INFINITY)])]), "");
    }
}
