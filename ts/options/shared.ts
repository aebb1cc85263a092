/** Options that several commands have, so that they are the same everywhere. */

import { parseMonitorAddress } from '../monitor/address.ts'
import { flag, type Option, option } from './option.ts'
import { choice, netdevName, netnsName, type ValueParser } from './values.ts'

export const ENDPOINTS = 'Endpoints'
export const OUTPUT = 'Output'

/** Checked here, so that a wrong address is told before anything is opened; the monitor reads it again. */
export const monitorAddress: ValueParser<string> = text => {
  parseMonitorAddress(text)
  return text
}

/** How an interface is named, wherever a command takes one. */
export const netdevOptions = {
  inNetdev: option({
    flags: '--in-netdev',
    value: 'NETDEV',
    group: ENDPOINTS,
    brief: 'capture from this interface',
    help: [
      'Capture from this network interface: its name on the host, or with --qmp',
      "the id of one of the VM's netdevs.",
    ],
    parse: netdevName,
  }),
  outNetdev: option({
    flags: '--out-netdev',
    value: 'NETDEV',
    group: ENDPOINTS,
    brief: 'inject into this interface',
    help: ['Inject into this network interface, named in the same way.'],
    parse: netdevName,
  }),
  netns: option({
    flags: '--netns',
    value: 'NAME|PATH|PID',
    group: ENDPOINTS,
    brief: 'network namespace of both',
    help: [
      'The network namespace of interfaces that are given by name: a name of',
      '`ip netns`, a path, or the number of a process in it. Without it, the one',
      "that tapferry is started in. A VM's netdevs are found where they are.",
    ],
    parse: netnsName,
  }),
  outNetns: option({
    flags: '--out-netns',
    value: 'NAME|PATH|PID',
    group: ENDPOINTS,
    brief: "out_netdev's, where it is another",
    help: ['The network namespace of out_netdev, where it is another one.'],
    parse: netnsName,
  }),
}

export const colorOption = option({
  flags: '--color',
  value: 'auto|always|never',
  default: 'auto',
  group: OUTPUT,
  brief: 'colours',
  help: ['auto: colours on a terminal, unless NO_COLOR is set.'],
  parse: choice('auto', 'always', 'never'),
})

/** `--json`, for a command whose objects are of these types. */
export function jsonOption(types: readonly string[]): Option<true> {
  return flag({
    flags: '--json',
    group: OUTPUT,
    brief: 'print JSON objects on stdout',
    help: [
      'Print JSON on stdout, one object a line, each with `type` and `time` (UTC,',
      `RFC 3339). Types: ${types.join(', ')}.`,
    ],
  })
}

/** What a command prints that goes on for a while, of objects of these types. */
export function progressOptions(types: readonly string[]) {
  return {
    json: jsonOption(types),
    color: colorOption,
    quiet: flag({
      flags: '-q,--quiet',
      group: OUTPUT,
      brief: "only 'ready', warnings and errors",
      help: ["Print only the 'ready' line, warnings and errors."],
    }),
    verbose: flag({
      flags: '-v,--verbose',
      group: OUTPUT,
      brief: 'print more about what happens',
      help: ['Print more about what happens.'],
    }),
  }
}

/** What a command prints that looks for what is wrong. */
export const findingOptions = {
  strict: flag({
    flags: '--strict',
    group: OUTPUT,
    brief: 'warnings end with status 1, too',
    help: ['End with status 1 if there are warnings, too.'],
  }),
  json: jsonOption(['finding', 'diagnosis', 'error']),
  color: colorOption,
  verbose: flag({
    flags: '-v,--verbose',
    group: OUTPUT,
    brief: 'show what is right, too',
    help: ['Show what was looked at and is right, too.'],
  }),
}
