//! `pilvi stack`: the root file systems of apps, made before they are needed.

use std::path::Path;

use anyhow::Context;
use pilvi_runtime::stack::{Order, Stacks};

use crate::arguments::StackCommand;

pub(crate) fn run(command: &StackCommand, data: &Path) -> anyhow::Result<()> {
    let stacks = Stacks::open(data.join("stacks"));
    match command {
        StackCommand::Create { name } => {
            let order = Order::of(name)?;
            let stack = stacks
                .create(name, &order, &mut std::io::stderr())
                .with_context(|| format!("could not make the stack {name}"))?;
            println!(
                "{} is ready: Debian {}, {} packages",
                stack.name, stack.suite, stack.packages
            );
        }
        StackCommand::List => {
            println!("host");
            for stack in stacks.list() {
                println!(
                    "{}\tDebian {}\t{} packages",
                    stack.name, stack.suite, stack.packages
                );
            }
        }
        StackCommand::Remove { name } => {
            stacks.remove(name)?;
            println!("{name} is removed");
        }
    }
    Ok(())
}
