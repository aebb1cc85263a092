/** What the help says of `tapferry netdevs`. */

import type { CommandHelp } from '../output/help.ts'
import { netdevsOptions } from './options.ts'

export const netdevsHelp: CommandHelp = {
  name: 'netdevs',
  summary: "Show this host's VMs, their netdevs and interfaces.",
  usage: 'tapferry netdevs [--qmp=PATH|HOST:PORT] [options]',
  examples: [
    ['every VM of this host, whoever started it', 'tapferry netdevs'],
    ['one VM', 'tapferry netdevs --qmp /run/vm.qmp'],
    [
      'the interface behind a netdev, for a script',
      `tapferry netdevs --json | jq -r 'select(.id == "hn0").interface'`,
    ],
  ],
  options: netdevsOptions,
  signals: [],
}
