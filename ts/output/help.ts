/** The help, made from the option tables. Examples come first: they are what most readers look for. */

import type { ChalkInstance } from 'chalk'
import { EXIT_STATUS_MEANINGS } from '../errors.ts'
import type { Option, OptionTable } from '../options/option.ts'

export interface CommandHelp {
  name: string
  /** One line. */
  summary: string
  usage: string
  examples: readonly Example[]
  options: OptionTable
  signals: readonly Row[]
}

type Example = readonly [comment: string, command: string]
type Row = readonly [left: string, right: string]

const GENERAL_OPTIONS: readonly Row[] = [
  ['COMMAND -h', 'the options of a command, on one screen'],
  ['COMMAND --help', 'the same with examples, units and all details'],
  ['--version', 'print the version; with --json as an object'],
]

/** `tapferry --help` */
export function overview(commands: readonly CommandHelp[], colors: ChalkInstance): string {
  return page(
    "tapferry copies a VM's Ethernet frames between network interfaces and streams,\ngated by its run state.",
    section(
      'Examples',
      exampleLines(
        commands.flatMap(({ examples }) => examples.slice(0, 2)),
        colors,
      ),
      colors,
    ),
    section('Commands', columns(commands.map(({ name, summary }) => [name, summary])), colors),
    section('Options', columns(GENERAL_OPTIONS), colors),
    exitStatuses(colors),
  )
}

/** `tapferry COMMAND -h`: one screen. */
export function briefHelp(command: CommandHelp, colors: ChalkInstance): string {
  const rows = Object.values(command.options).map((spec): Row => [signature(spec), briefText(spec)])
  return page(
    section('Usage', [`  ${command.usage}`], colors),
    section('Options', columns(rows), colors),
    `Examples and details: tapferry ${command.name} --help`,
  )
}

/** `tapferry COMMAND --help` */
export function fullHelp(command: CommandHelp, colors: ChalkInstance): string {
  const options = Object.values(command.options)
  const groups = [...new Set(options.map(spec => spec.group))]
  return page(
    command.summary,
    section('Examples', exampleLines(command.examples, colors), colors),
    section('Usage', [`  ${command.usage}`], colors),
    ...groups.map(group => {
      const lines = options.filter(spec => spec.group === group).flatMap(spec => paragraph(spec, colors))
      return section(group, lines, colors)
    }),
    ...(command.signals.length > 0 ? [section('Signals', columns(command.signals), colors)] : []),
    exitStatuses(colors),
  )
}

function page(...parts: readonly string[]): string {
  return `${parts.join('\n\n')}\n`
}

function section(title: string, lines: readonly string[], colors: ChalkInstance): string {
  return [colors.bold(title), ...lines].join('\n')
}

function exitStatuses(colors: ChalkInstance): string {
  const rows = EXIT_STATUS_MEANINGS.map(([status, meaning]): Row => [String(status), meaning])
  return section('Exit status', columns(rows), colors)
}

function exampleLines(examples: readonly Example[], colors: ChalkInstance): string[] {
  return examples.flatMap(([comment, command]) => [colors.dim(`  # ${comment}`), `  ${command}`])
}

/** Rows as two columns, the right ones aligned. */
function columns(rows: readonly Row[]): string[] {
  const width = Math.max(...rows.map(([left]) => left.length))
  return rows.map(([left, right]) => `  ${left.padEnd(width)}  ${right}`)
}

function paragraph(spec: Option<unknown>, colors: ChalkInstance): string[] {
  const help = spec.help ?? [spec.brief]
  return [`  ${colors.bold(signature(spec))}${suffix(spec)}`, ...help.map(line => `      ${line}`)]
}

/** `-q, --quiet`, `--queue=tx|rx|all`, `--enable-when-stopped[=on|off]` */
function signature(spec: Option<unknown>): string {
  const names = spec.flags.replace(',', ', ')
  if (spec.value === undefined) return names
  return spec.bare === undefined ? `${names}=${spec.value}` : `${names}[=${spec.value}]`
}

function suffix(spec: Option<unknown>): string {
  return spec.default === undefined ? '' : ` [default: ${spec.default}]`
}

function briefText(spec: Option<unknown>): string {
  return spec.default === undefined ? spec.brief : `${spec.brief} [${spec.default}]`
}
