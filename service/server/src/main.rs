//! The `counterfoil` program.

fn main() {
    eprintln!("counterfoil: no subcommand works yet; the service is under construction");
    std::process::exit(2);
}
