//! k8s/monitoring/grafana-dashboard.json: what Grafana can load, without overlaps, and with a text for each panel.
//!
//! Its queries are run in `grafana_queries`.

use std::collections::BTreeSet;

use super::grafana_model::{Dashboard, Graph, Panel, Place, Source, Target, Variable};
use super::*;

const PATH: &str = "k8s/monitoring/grafana-dashboard.json";

pub(super) fn dashboard() -> Dashboard {
    serde_json::from_str(&text(PATH)).unwrap_or_else(|error| panic!("{PATH}: {error}"))
}

/// The fields of all panels with queries.
pub(super) struct Shown {
    pub id: u32,
    pub title: String,
    pub description: String,
    pub source: Source,
    pub place: Place,
    pub targets: Vec<Target>,
    pub unit: Option<String>,
    /// Stats and tables show one moment.
    pub instant: bool,
}

impl Shown {
    fn new<Options>(panel: Graph<Options>, instant: bool) -> Self {
        Self {
            id: panel.id,
            title: panel.title,
            description: panel.description,
            source: panel.datasource,
            place: panel.grid_pos,
            targets: panel.targets,
            unit: panel.field_config.defaults.unit,
            instant,
        }
    }
}

pub(super) fn panels() -> Vec<Shown> {
    let shown = |panel| match panel {
        Panel::Row(_) => None,
        Panel::Stat(panel) => Some(Shown::new(panel, true)),
        Panel::Table(panel) => Some(Shown::new(panel, true)),
        Panel::Timeseries(panel) => Some(Shown::new(panel, false)),
    };
    dashboard().panels.into_iter().filter_map(shown).collect()
}

#[test]
fn every_panel_has_a_place_of_its_own_in_the_grid() {
    let mut ids = BTreeSet::new();
    let mut cells = BTreeSet::new();
    for panel in dashboard().panels {
        let (id, place) = match &panel {
            Panel::Row(row) => (row.id, row.grid_pos),
            Panel::Stat(panel) => (panel.id, panel.grid_pos),
            Panel::Table(panel) => (panel.id, panel.grid_pos),
            Panel::Timeseries(panel) => (panel.id, panel.grid_pos),
        };
        assert!(ids.insert(id), "two panels have the id {id}");
        assert!(place.w > 0 && place.h > 0 && place.x + place.w <= 24, "panel {id}: {place:?}");
        for cell in (place.x..place.x + place.w).flat_map(|x| (place.y..place.y + place.h).map(move |y| (x, y))) {
            assert!(cells.insert(cell), "panel {id} covers another one at {cell:?}");
        }
    }
}

#[test]
fn every_panel_says_what_it_shows_and_asks_the_chosen_source_for_the_chosen_pods() {
    let mut titles = BTreeSet::new();
    for panel in panels() {
        let title = &panel.title;
        assert!(titles.insert(title.clone()), "two panels are called {title}");
        assert!(panel.description.ends_with('.') && panel.description.len() > 20, "{title}: {}", panel.description);
        assert!(panel.place.h >= 4 && panel.id > 0, "{title}");
        assert!(panel.unit.is_some() || panel.targets[0].format.as_deref() == Some("table"), "{title} has no unit");
        let refs: BTreeSet<&str> = panel.targets.iter().map(|target| target.ref_id.as_str()).collect();
        assert_eq!(refs.len(), panel.targets.len(), "{title}: two queries have one name");
        for (source, target) in
            panel.targets.iter().map(|target| (&target.datasource, target)).chain([(&panel.source, &panel.targets[0])])
        {
            assert_eq!((source.kind.as_str(), source.uid.as_str()), ("prometheus", "${datasource}"), "{title}");
            assert_eq!((target.instant, target.range), (panel.instant, !panel.instant), "{title}");
        }
        for target in &panel.targets {
            let selectors = target.expr.matches('{').count();
            let chosen = target.expr.matches("namespace=~\"$namespace\", job=~\"$job\"}").count();
            assert!(selectors > 0 && chosen == selectors, "{title} ignores a variable: {}", target.expr);
            // Counters are read as increases, over the interval that fits the width of the graph.
            assert_eq!(target.expr.contains('['), target.expr.contains("[$__rate_interval]"), "{title}");
        }
    }
}

#[test]
fn the_variables_are_the_source_the_namespaces_and_the_jobs() {
    let variables: Vec<Variable> = dashboard().templating.list;
    let names: Vec<(&str, &str)> = variables.iter().map(|each| (each.name.as_str(), each.kind.as_str())).collect();
    assert_eq!(names, [("datasource", "datasource"), ("namespace", "query"), ("job", "query")]);
    assert_eq!(variables[0].query, "prometheus");
    for variable in &variables[1..] {
        assert_eq!(variable.query["query"].as_str(), variable.definition.as_deref());
        assert_eq!(variable.datasource.as_ref().unwrap().uid, "${datasource}");
        // Matches series without the label, too: a Prometheus outside of Kubernetes sets no namespace.
        assert_eq!((variable.include_all, variable.all_value.as_deref()), (true, Some(".*")));
    }
}

#[test]
fn a_misspelled_field_of_a_panel_is_an_error() {
    let source = text(PATH);
    for (right, wrong) in
        [("\"gridPos\"", "\"gridpos\""), ("\"legendFormat\"", "\"legend\""), ("\"unit\"", "\"units\"")]
    {
        assert!(source.contains(right));
        assert!(serde_json::from_str::<Dashboard>(&source.replacen(right, wrong, 1)).is_err(), "{wrong}");
    }
}

#[test]
fn the_config_map_has_the_label_that_grafanas_sidecar_looks_for() {
    let kustomization = strict::documents(&text("k8s/monitoring/kustomization.yaml")).unwrap().remove(0);
    let generator = &kustomization["configMapGenerator"][0];
    assert_eq!(generator["options"]["labels"]["grafana_dashboard"], "1");
    assert_eq!(word(&generator["files"][0]).split_once('=').unwrap().1, "grafana-dashboard.json");
    // `kubectl apply` keeps the whole object in an annotation, of which there may be 256 KiB.
    assert!(text(PATH).len() < 200 * 1024);
}

#[test]
fn kustomize_puts_the_file_into_the_config_map_and_adds_the_alerts() {
    let Some(documents) = overlays::built("k8s/monitoring") else { return };
    let kinds: Vec<&str> = documents.iter().map(|document| word(&document["kind"])).collect();
    assert_eq!(kinds, ["ConfigMap", "PrometheusRule"]);
    assert_eq!(documents[0]["metadata"]["labels"]["grafana_dashboard"], "1");
    assert_eq!(word(&documents[0]["data"]["pushsync.json"]), text(PATH));
}
