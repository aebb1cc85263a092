/** What the help says of `tapferry doctor`. */

import type { CommandHelp } from '../output/help.ts'
import { doctorOptions } from './options.ts'

export const doctorHelp: CommandHelp = {
  name: 'doctor',
  summary: 'Find what could go wrong with a run, and what fixes it.',
  usage: 'tapferry doctor [the options of the tapferry run to come] [options]',
  examples: [
    [
      'what `tapferry run` with the same options would meet',
      'tapferry doctor --in-netdev hn0 --out-netdev tapB --qmp qmp0',
    ],
    [
      'whether a filter of the VM takes what shall be written to it',
      'tapferry doctor --in-netdev tapA --outdev unix:/run/c0 --qmp qmp0',
    ],
    ['this host alone', 'tapferry doctor'],
    [
      'for a script: status 0 only if all is well',
      'tapferry doctor --in-netdev tapA --out-netdev tapB --strict --json',
    ],
  ],
  options: doctorOptions,
  signals: [],
}
