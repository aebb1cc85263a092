/** What the help says of `tapferry handover`: its commands are words of their own. */

import type { CommandHelp } from '../output/help.ts'
import {
  checkDestinationOptions,
  checkSourceOptions,
  cleanupOptions,
  destinationOptions,
  sourceOptions,
} from './options.ts'
import { handoverReportHelp } from './report/help.ts'

const signals = [['SIGINT, SIGTERM', 'stop, put all back and report; a later one ends at once']] as const

/** All of them in one line of the overview. */
export const handoverFamily: CommandHelp = {
  name: 'handover',
  summary: 'Live migration without a lost frame, at both hosts.',
  usage: 'tapferry handover source|dest|check|cleanup|report',
  examples: [
    [
      'before a live migration, where the VM runs: no frame is lost',
      'tapferry handover source --qmp qmp0 --to tcp:hv-2:4000 --tls-creds DIR',
    ],
    [
      'and where QEMU waits for it with -incoming',
      'tapferry handover dest --qmp qmp0 --from tcp::4000 --tls-creds DIR',
    ],
  ],
  options: {},
  signals: [],
}

export const handoverHelps: readonly CommandHelp[] = [
  {
    name: 'handover source',
    summary: "Hand over a migrating VM's frames: where it leaves.",
    usage: 'tapferry handover source --qmp=PATH --to=tcp:HOST:PORT|unix:PATH [options]',
    examples: [
      [
        'before a live migration, where the VM runs: no frame is lost',
        'tapferry handover source --qmp qmp0 --to tcp:hv-2:4000 --tls-creds DIR',
      ],
      [
        'one of its netdevs, through a socket that ssh carries',
        'tapferry handover source --qmp qmp0 --in-netdev hn0 --to unix:/run/ho',
      ],
    ],
    options: sourceOptions,
    signals,
  },
  {
    name: 'handover dest',
    summary: 'The same where it arrives.',
    usage: 'tapferry handover dest --qmp=PATH --from=tcp:HOST:PORT|unix:PATH [options]',
    examples: [
      [
        'the same, where QEMU waits for it with -incoming',
        'tapferry handover dest --qmp qmp0 --from tcp::4000 --tls-creds DIR',
      ],
    ],
    options: destinationOptions,
    signals,
  },
  {
    name: 'handover check source',
    summary: 'Rehearse where the VM leaves, and compare both hosts.',
    usage: 'tapferry handover check source --qmp=PATH --to=tcp:HOST:PORT|unix:PATH',
    examples: [
      [
        'privileges, the cut, and what the other host has',
        'tapferry handover check source --qmp qmp0 --to tcp:hv-2:4000 --tls-creds DIR',
      ],
    ],
    options: checkSourceOptions,
    signals: [],
  },
  {
    name: 'handover check dest',
    summary: 'Rehearse where the VM arrives, and compare both hosts.',
    usage: 'tapferry handover check dest --qmp=PATH --from=tcp:HOST:PORT|unix:PATH',
    examples: [
      [
        'privileges, the gate, and what the other host has: waits for it',
        'tapferry handover check dest --qmp qmp0 --from tcp::4000 --tls-creds DIR',
      ],
    ],
    options: checkDestinationOptions,
    signals: [],
  },
  {
    name: 'handover cleanup',
    summary: 'Put right what a killed handover has left on this host.',
    usage: 'tapferry handover cleanup',
    examples: [['queue lengths as they were, and no gate', 'tapferry handover cleanup']],
    options: cleanupOptions,
    signals: [],
  },
  handoverReportHelp,
]
