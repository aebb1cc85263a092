import test from 'ava'
import { doctorOptions } from '../../ts/doctor/options.ts'
import {
  checkDestinationOptions,
  checkSourceOptions,
  cleanupOptions,
  destinationOptions,
  sourceOptions,
} from '../../ts/handover/options.ts'
import { handoverReportOptions } from '../../ts/handover/report/options.ts'
import { netdevsOptions } from '../../ts/netdevs/options.ts'
import { longName } from '../../ts/options/option.ts'
import { runOptions } from '../../ts/run/options.ts'
import { tapferry } from '../support/cli.ts'

const COMMANDS = {
  run: runOptions,
  'handover source': sourceOptions,
  'handover dest': destinationOptions,
  'handover check source': checkSourceOptions,
  'handover check dest': checkDestinationOptions,
  'handover cleanup': cleanupOptions,
  'handover report': handoverReportOptions,
  netdevs: netdevsOptions,
  doctor: doctorOptions,
}

const flags = Object.values(runOptions).map(longName)

test('--help says what tapferry is, with examples before commands and exit statuses', async t => {
  const { status, stdout, stderr } = await tapferry('--help')
  t.is(status, 0)
  t.is(stderr, '')
  const order = ['Examples', 'Commands', 'Exit status'].map(title => stdout.indexOf(`\n${title}\n`))
  t.true(order.every(position => position > 0))
  t.deepEqual(
    order,
    [...order].sort((a, b) => a - b),
  )
  t.regex(
    stdout,
    /^ {2}0 {2}done.*\n {2}1 .*\n {2}2 .*usage.*\n {2}3 .*permission.*\n {2}4 .*VM.*\n {2}5 .*interface/m,
  )
})

test('-h without a command is the same as --help', async t => {
  const [short, long] = await Promise.all([tapferry('-h'), tapferry('--help')])
  t.deepEqual(short, long)
})

test('run --help names every option, with examples first, defaults and the plain words for the queue', async t => {
  const { status, stdout } = await tapferry('run', '--help')
  t.is(status, 0)
  for (const flag of flags) t.regex(stdout, new RegExp(`^  (-\\w, )?${flag}\\b`, 'm'), flag)
  t.true(stdout.indexOf('Examples') < stdout.indexOf('--in-netdev=NETDEV'))
  t.regex(stdout, /--queue=tx\|rx\|all \[default: tx\]/)
  t.regex(stdout, /tx: frames to the guest/)
  t.regex(stdout, /--pre-roll=MS \[default: 50 ms\]/)
  t.regex(stdout, /--mark=NUMBER \[default: 0x3074\]/)
  t.regex(stdout, /^Streams$/m)
  t.regex(stdout, /^Buffer$/m)
  t.regex(stdout, /--buffer=SIZE \[default: 16M\]/)
  t.regex(stdout, /SIGUSR1 +print statistics/)
})

for (const [command, table] of Object.entries(COMMANDS)) {
  test(`${command} -h names every option on one screen`, async t => {
    const { status, stdout } = await tapferry(...command.split(' '), '-h')
    t.is(status, 0)
    for (const flag of Object.values(table).map(longName)) {
      t.regex(stdout, new RegExp(`^  (-\\w, )?${flag}\\b`, 'm'), flag)
    }
    const lines = stdout.trimEnd().split('\n')
    t.true(lines.length <= 40, `${lines.length} lines`)
  })
}

test('no line of any help is wider than 80 columns', async t => {
  const commands = Object.keys(COMMANDS)
  for (const args of [
    ['--help'],
    ...commands.flatMap(name => [
      [...name.split(' '), '-h'],
      [...name.split(' '), '--help'],
    ]),
  ]) {
    const { stdout } = await tapferry(...args)
    const wide = stdout.split('\n').filter(line => line.length > 80)
    t.deepEqual(wide, [])
  }
})

test('the beginning of several commands has their help', async t => {
  const { status, stdout } = await tapferry('handover', '--help')
  t.is(status, 0)
  t.regex(stdout, /^ {2}handover source .*\n {2}handover dest /m)
  t.notRegex(stdout, /^ {2}netdevs /m)
})

test('help wins over whatever else is wrong on the line', async t => {
  const { status, stdout } = await tapferry('run', '--queue=sideways', '--bogus', '--help')
  t.is(status, 0)
  t.regex(stdout, /^Usage$/m)
})

test('--version prints the version of package.json', async t => {
  const { status, stdout, stderr } = await tapferry('--version')
  const { version } = (await import('../../package.json', { with: { type: 'json' } })).default
  t.deepEqual({ status, stdout, stderr }, { status: 0, stdout: `tapferry ${version}\n`, stderr: '' })
})
