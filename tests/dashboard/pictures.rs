//! The pictures of the documentation: the real screens, drawn by the view into a buffer and written as SVG.
//!
//! `scripts/screenshots` writes them. The test fails if one differs from what the view draws today.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use pushsync::dashboard::message::Msg;
use pushsync::dashboard::model::Model;
use pushsync::dashboard::theme::{Background, Theme};
use pushsync::dashboard::update::update;
use ratatui::buffer::{Buffer, Cell};
use ratatui::style::{Color, Modifier};
use unicode_width::UnicodeWidthStr;

use super::scenes;
use super::screens::render;

/// Pixels of a cell, and around the screen.
const CELL: (f64, f64) = (8.4, 18.0);
const MARGIN: f64 = 14.0;

/// The colors of one picture: background, text, and the ANSI colors that the theme uses.
struct Palette {
    name: &'static str,
    background: Background,
    paper: &'static str,
    ink: &'static str,
    colors: [(Color, &'static str); 6],
}

const PALETTES: [Palette; 2] = [
    Palette {
        name: "dark",
        background: Background::Dark,
        paper: "#1b1e24",
        ink: "#d7dae0",
        colors: [
            (Color::Green, "#8ccf7e"),
            (Color::Red, "#f07178"),
            (Color::Yellow, "#e6c067"),
            (Color::Cyan, "#6cc7d9"),
            (Color::Magenta, "#d2a6ff"),
            (Color::Blue, "#7aa2f7"),
        ],
    },
    Palette {
        name: "light",
        background: Background::Light,
        paper: "#fcfcfa",
        ink: "#24292f",
        colors: [
            (Color::Green, "#1a7f37"),
            (Color::Red, "#c4242f"),
            (Color::Yellow, "#8a6100"),
            (Color::Cyan, "#0b7285"),
            (Color::Magenta, "#8b2fa8"),
            (Color::Blue, "#0b5fd0"),
        ],
    },
];

/// The pictures: file name, scene, size.
const PICTURES: [(&str, &str, (u16, u16)); 6] = [
    ("commits", "scene_failing", (120, 24)),
    ("commit", "scene_commit", (120, 32)),
    ("rollback", "scene_rollback", (120, 24)),
    ("pinned", "scene_pinned", (120, 24)),
    ("fifty", "scene_fifty", (120, 24)),
    ("several", "scene_several", (120, 16)),
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/images")
}

fn picture(model: &Model, (width, height): (u16, u16), palette: &Palette) -> String {
    let theme = Theme::new(true, false).on(palette.background);
    let mut model = model.clone();
    let now = model.now;
    let _ = update(&mut model, now, Msg::Resize(width, height));
    svg(&render(&model, &theme, width, height), palette)
}

/// One `text` element for each run of cells of one style.
fn svg(buffer: &Buffer, palette: &Palette) -> String {
    let (width, height) = (f64::from(buffer.area.width) * CELL.0, f64::from(buffer.area.height) * CELL.1);
    let (full_width, full_height) = (width + 2.0 * MARGIN, height + 2.0 * MARGIN);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{full_width:.0}\" height=\"{full_height:.0}\" \
         viewBox=\"0 0 {full_width:.0} {full_height:.0}\" font-family=\"ui-monospace,SFMono-Regular,Menlo,Consolas,\
         'DejaVu Sans Mono',monospace\" font-size=\"14\">\n\
         <rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"{}\"/>\n",
        palette.paper
    );
    for y in 0..buffer.area.height {
        let mut x = 0;
        while x < buffer.area.width {
            let style = style(&buffer[(x, y)]);
            let begin = x;
            let mut text = String::new();
            while x < buffer.area.width && self::style(&buffer[(x, y)]) == style {
                let symbol = buffer[(x, y)].symbol();
                text.push_str(symbol);
                x += u16::try_from(symbol.width()).unwrap().max(1);
            }
            run(&mut out, palette, begin, y, x - begin, &text, style);
        }
    }
    out.push_str("</svg>\n");
    out
}

fn style(cell: &Cell) -> (Color, Modifier) {
    (cell.fg, cell.modifier)
}

fn run(out: &mut String, palette: &Palette, x: u16, y: u16, columns: u16, text: &str, style: (Color, Modifier)) {
    let (color, modifier) = style;
    let reversed = modifier.contains(Modifier::REVERSED);
    let left = MARGIN + f64::from(x) * CELL.0;
    let top = MARGIN + f64::from(y) * CELL.1;
    let wide = f64::from(columns) * CELL.0;
    let named = palette.colors.iter().find(|(name, _)| *name == color).map_or(palette.ink, |(_, value)| value);
    if reversed {
        let height = CELL.1;
        let _ = writeln!(
            out,
            "<rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{wide:.1}\" height=\"{height:.1}\" fill=\"{named}\"/>"
        );
    }
    if text.trim().is_empty() {
        return;
    }
    let fill = if reversed { palette.paper } else { named };
    let weight = if modifier.contains(Modifier::BOLD) { " font-weight=\"bold\"" } else { "" };
    let dim = if modifier.contains(Modifier::DIM) { " opacity=\"0.6\"" } else { "" };
    let escaped = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let base = top + 13.5;
    let _ = writeln!(
        out,
        "<text x=\"{left:.1}\" y=\"{base:.1}\" textLength=\"{wide:.1}\" fill=\"{fill}\"{weight}{dim} \
         xml:space=\"preserve\">{escaped}</text>"
    );
}

#[test]
fn the_pictures_are_what_the_screens_look_like_today() {
    let update = std::env::var_os("UPDATE_PICTURES").is_some();
    let scenes = scenes::all();
    let mut old = Vec::new();
    for (file, scene, size) in PICTURES {
        let (_, model) = scenes.iter().find(|(name, _)| *name == scene).expect("a scene with this name");
        for palette in &PALETTES {
            let path = folder().join(format!("{file}-{}.svg", palette.name));
            let drawn = picture(model, size, palette);
            assert!(drawn.matches("<text").count() > 20, "{file} shows something");
            if update {
                std::fs::create_dir_all(folder()).unwrap();
                std::fs::write(&path, drawn).unwrap();
            } else if std::fs::read_to_string(&path).unwrap_or_default() != drawn {
                old.push(path);
            }
        }
    }
    assert!(old.is_empty(), "run scripts/screenshots: {old:?} show older screens");
}

/// Each picture is shown somewhere, dark and light, and none that is shown is missing.
#[test]
fn the_documentation_shows_every_picture_in_both_colors() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let texts = ["README.md", "docs/dashboard.md"].map(|file| std::fs::read_to_string(root.join(file)).unwrap());
    let all = texts.concat();
    for (file, _, _) in PICTURES {
        for color in ["dark", "light"] {
            assert!(all.contains(&format!("images/{file}-{color}.svg")), "{file}-{color}.svg is shown nowhere");
        }
    }
    for (text, base) in texts.iter().zip([root.to_owned(), root.join("docs")]) {
        let shown = text.split(['"', '(', ')', ' ']).filter(|word| {
            word.contains("images/")
                && std::path::Path::new(word).extension().is_some_and(|extension| extension == "svg")
        });
        for path in shown {
            assert!(base.join(path).is_file(), "{path} is not there");
        }
    }
}
