/** The options of `tapferry netdevs`. */

import { option } from '../options/option.ts'
import { colorOption, jsonOption, monitorAddress } from '../options/shared.ts'

export const netdevsOptions = {
  qmp: option({
    flags: '--qmp',
    value: 'PATH|HOST:PORT',
    group: 'VM',
    brief: 'only the VM of this monitor',
    help: ['Only the VM of this QMP monitor. Without it, every VM of this host.'],
    parse: monitorAddress,
  }),
  json: jsonOption(['vm', 'netdev', 'error']),
  color: colorOption,
}
