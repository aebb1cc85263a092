/** What the help says of `tapferry run`. */

import type { CommandHelp } from '../output/help.ts'
import { runOptions } from './options.ts'

export const runHelp: CommandHelp = {
  name: 'run',
  summary: "Copy a VM's frames from and to interfaces and streams, gated.",
  usage: 'tapferry run --in-netdev=NAME|--indev=ADDR --out-netdev=NAME|--outdev=ADDR',
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
    [
      'into QEMU: to the indev of a filter-redirector, headers and all',
      'tapferry run --in-netdev tapA --outdev unix:/run/c0 --vnet-hdr-support',
    ],
    [
      "out of QEMU: a filter-mirror's outdev connects here",
      'tapferry run --indev unix:/run/mirror,server --out-netdev m0',
    ],
    [
      'a relay: from a QEMU on this host to a peer on another',
      'tapferry run --indev unix:/run/c0 --outdev tcp:192.0.2.1:4000',
    ],
    [
      "QEMU's own line, as it is; --dry-run shows it in tapferry's options",
      'tapferry run -chardev socket,id=c0,path=/run/c0 -object filter-mirror,...',
    ],
    [
      'into a VM that is still to run: keep frames until it does',
      'tapferry run --indev fd:3 --out-netdev hn0 --qmp qmp0 --hold=until-running',
    ],
  ],
  options: runOptions,
  signals: [
    ['SIGINT, SIGTERM', 'stop and print the summary; a later one ends at once'],
    ['SIGUSR1', 'print statistics'],
  ],
}
