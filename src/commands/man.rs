//! `man`: the manual page.

use std::io;

use clap::Command;
use clap_mangen::{
    Man,
    roff::{Roff, roman},
};

/// Returns the page of `command` in the format of man(7): the program, then each subcommand with its flags.
#[must_use]
pub(crate) fn page(command: &Command) -> String {
    let mut page = Vec::new();
    write(command, &mut page).expect("memory takes all that is written to it");
    String::from_utf8(page).expect("the help of commands is text")
}

fn write(command: &Command, page: &mut Vec<u8>) -> io::Result<()> {
    let man = Man::new(command.clone());
    man.render_title(page)?;
    man.render_name_section(page)?;
    man.render_synopsis_section(page)?;
    man.render_description_section(page)?;
    man.render_options_section(page)?;
    write_subcommands(command, "", page)?;
    man.render_version_section(page)
}

/// Writes a section for each subcommand of `command`, whose words are `parent`, and for theirs.
fn write_subcommands(command: &Command, parent: &str, page: &mut Vec<u8>) -> io::Result<()> {
    for subcommand in command.get_subcommands() {
        let name = format!("{parent}{}", subcommand.get_name());
        let about = subcommand.get_about().map(ToString::to_string);
        let mut heading = Roff::new();
        heading.control("SH", [name.to_uppercase().as_str()]);
        heading.text([roman(about.unwrap_or_default())]);
        heading.to_writer(page)?;
        let mut options = Vec::new();
        Man::new(subcommand.clone()).render_options_section(&mut options)?;
        // A subsection of the command, and not one more section of the program.
        let options = String::from_utf8_lossy(&options).replace(".SH OPTIONS", ".SS Options");
        page.extend_from_slice(options.as_bytes());
        write_subcommands(subcommand, &format!("{name} "), page)?;
    }
    Ok(())
}
