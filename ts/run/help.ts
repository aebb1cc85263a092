/** What the help says of `tapferry run`. */

import type { CommandHelp } from '../output/help.ts'
import { runOptions } from './options.ts'

export const runHelp: CommandHelp = {
  name: 'run',
  summary: "Copy a VM's frames to another interface while the gate is open.",
  usage: 'tapferry run --in-netdev=NETDEV --out-netdev=NETDEV [options]',
  examples: [
    [
      "what the host sends to tapA's guest goes to tapB's guest as well",
      'tapferry run --in-netdev tapA --out-netdev tapB',
    ],
    [
      'only while the VM runs; its netdev by its QEMU id',
      'tapferry run --in-netdev hn0 --out-netdev tapB --qmp qmp0',
    ],
    [
      'only while the VM is stopped, as in a migration',
      'tapferry run --in-netdev hn0 --out-netdev tapB --qmp qmp0 --only-when-stopped',
    ],
    [
      'what the guest sends, to a sensor, for five minutes, counted as JSON',
      'tapferry run --in-netdev tapA --out-netdev m0 --queue=rx --duration=5m --json',
    ],
    [
      'from boot: wait for the VM, its monitor and its interfaces',
      'tapferry run --in-netdev hn0 --out-netdev tapB --qmp localhost:4444 --wait',
    ],
  ],
  options: runOptions,
  signals: [
    ['SIGINT, SIGTERM', 'stop and print the summary; a second one ends at once'],
    ['SIGUSR1', 'print statistics'],
  ],
}
