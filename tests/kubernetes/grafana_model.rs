//! The parts of Grafana's dashboard model (schema version 39) that k8s/monitoring/grafana-dashboard.json uses, strictly typed.
//!
//! A field that is not listed here is an error, so a misspelled one cannot be stored and ignored by Grafana. The names and
//! types are those of Grafana's published schema. It must not know what the panels show.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[allow(dead_code, reason = "that a field has this name and type is the check")]
pub struct Dashboard {
    pub title: String,
    pub uid: String,
    pub description: String,
    pub tags: Vec<String>,
    pub schema_version: u32,
    pub version: u32,
    pub editable: bool,
    /// 0: none, 1: a shared crosshair, 2: a shared tooltip.
    pub graph_tooltip: u8,
    pub fiscal_year_start_month: u8,
    pub live_now: bool,
    pub week_start: String,
    pub refresh: String,
    pub time: Range,
    pub timepicker: Empty,
    pub timezone: String,
    pub links: Vec<Empty>,
    pub annotations: List<Value>,
    pub templating: List<Variable>,
    pub panels: Vec<Panel>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Empty {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct List<T> {
    pub list: Vec<T>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "as above")]
pub struct Range {
    pub from: String,
    pub to: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    #[serde(rename = "type")]
    pub kind: String,
    pub uid: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[allow(dead_code, reason = "as above")]
pub struct Variable {
    pub name: String,
    pub label: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub datasource: Option<Source>,
    pub definition: Option<String>,
    /// A text for a variable of data sources, an object for a query.
    pub query: Value,
    /// 1: when the dashboard loads, 2: also when the time range changes.
    pub refresh: u8,
    pub regex: String,
    pub sort: Option<u8>,
    pub multi: bool,
    pub include_all: bool,
    pub all_value: Option<String>,
    pub hide: u8,
    pub skip_url_sync: bool,
    pub current: Value,
    pub options: Vec<Value>,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Panel {
    Row(Row),
    Stat(Graph<StatOptions>),
    Timeseries(Graph<SeriesOptions>),
    Table(Graph<TableOptions>),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[allow(dead_code, reason = "as above")]
pub struct Row {
    pub id: u32,
    pub title: String,
    pub collapsed: bool,
    pub grid_pos: Place,
    pub panels: Vec<Empty>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[allow(dead_code, reason = "as above")]
pub struct Graph<Options> {
    pub id: u32,
    pub title: String,
    pub description: String,
    pub datasource: Source,
    pub grid_pos: Place,
    pub targets: Vec<Target>,
    #[serde(default)]
    pub transformations: Vec<Transformation>,
    pub field_config: FieldConfig,
    pub options: Options,
}

/// In units of the grid, which is 24 wide.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    pub x: u32,
    pub y: u32,
    pub w: u32,
    pub h: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[allow(dead_code, reason = "as above")]
pub struct Target {
    pub ref_id: String,
    pub datasource: Source,
    pub expr: String,
    pub legend_format: String,
    pub editor_mode: String,
    pub instant: bool,
    pub range: bool,
    pub format: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "as above")]
pub struct Transformation {
    pub id: String,
    pub options: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "as above")]
pub struct FieldConfig {
    pub defaults: FieldDefaults,
    pub overrides: Vec<Empty>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[allow(dead_code, reason = "as above")]
pub struct FieldDefaults {
    pub unit: Option<String>,
    pub min: Option<f64>,
    pub max: Option<f64>,
    pub decimals: Option<u32>,
    pub no_value: Option<String>,
    pub color: Option<BTreeMap<String, String>>,
    pub thresholds: Option<Thresholds>,
    pub custom: Option<Custom>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "as above")]
pub struct Thresholds {
    pub mode: String,
    pub steps: Vec<Step>,
}

/// The first step has no value: it is minus infinity.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "as above")]
pub struct Step {
    pub color: String,
    pub value: Option<f64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[allow(dead_code, reason = "as above")]
pub struct Custom {
    pub draw_style: String,
    pub line_width: u8,
    pub fill_opacity: u8,
    pub show_points: String,
    pub span_nulls: bool,
    pub stacking: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[allow(dead_code, reason = "as above")]
pub struct StatOptions {
    pub reduce_options: Reduce,
    pub color_mode: String,
    pub graph_mode: String,
    pub justify_mode: String,
    pub orientation: String,
    pub text_mode: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "as above")]
pub struct Reduce {
    pub calcs: Vec<String>,
    pub fields: String,
    pub values: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "as above")]
pub struct SeriesOptions {
    pub legend: Legend,
    pub tooltip: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[allow(dead_code, reason = "as above")]
pub struct Legend {
    pub calcs: Vec<String>,
    pub display_mode: String,
    pub placement: String,
    pub show_legend: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[allow(dead_code, reason = "as above")]
pub struct TableOptions {
    pub show_header: bool,
    pub cell_height: String,
    pub sort_by: Vec<Value>,
}
