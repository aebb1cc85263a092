import test from 'ava'
import { TapferryError } from '../../ts/errors.ts'
import { formatMonitorAddress, type MonitorAddress, parseMonitorAddress } from '../../ts/monitor/index.ts'

const unix = (path: string): MonitorAddress => ({ kind: 'unix', path })
const tcp = (host: string, port: number): MonitorAddress => ({ kind: 'tcp', host, port })

test('an address is read as people write it', t => {
  const cases: [text: string, address: MonitorAddress, plain: string][] = [
    ['/run/vm.qmp', unix('/run/vm.qmp'), '/run/vm.qmp'],
    ['unix:/run/vm.qmp', unix('/run/vm.qmp'), '/run/vm.qmp'],
    ['vm.qmp', unix('vm.qmp'), 'vm.qmp'],
    ['./a:4444', unix('./a:4444'), './a:4444'],
    ['unix:a:4444', unix('a:4444'), 'a:4444'],
    ['/run/a,b.qmp', unix('/run/a,b.qmp'), '/run/a,b.qmp'],
    ['localhost:4444', tcp('localhost', 4444), 'localhost:4444'],
    ['tcp:192.0.2.1:1', tcp('192.0.2.1', 1), '192.0.2.1:1'],
    ['[::1]:65535', tcp('::1', 65_535), '[::1]:65535'],
    ['tcp:[fe80::1%eth0]:4444', tcp('fe80::1%eth0', 4444), '[fe80::1%eth0]:4444'],
  ]
  for (const [text, address, plain] of cases) {
    t.deepEqual(parseMonitorAddress(text), address, text)
    t.is(formatMonitorAddress(address), plain, text)
  }
})

test('what is no address is refused with the next step', t => {
  const cases: [text: string, message: RegExp, hint: RegExp][] = [
    ['', /names no path/, /path of a QMP socket/],
    ['unix:', /names no path/, /path of a QMP socket/],
    [':4444', /names no host/, /localhost:4444/],
    ['tcp::4444', /names no host/, /localhost:4444/],
    ['localhost:', /no port between 1 and 65535/, /unix:PATH/],
    ['localhost:0', /no port between 1 and 65535/, /unix:PATH/],
    ['localhost:65536', /no port between 1 and 65535/, /unix:PATH/],
    ['localhost:http', /no port between 1 and 65535/, /unix:PATH/],
    ['::1:4444', /is no HOST:PORT/, /\[::1\]:4444/],
    ['tcp:/run/vm.qmp', /is no HOST:PORT/, /localhost:4444/],
    ['unix:/run/vm.qmp,server=on,wait=off', /options of QEMU's/, /unix:\/run\/vm\.qmp$/],
    ['tcp:localhost:4444,server,nowait', /options of QEMU's/, /tcp:localhost:4444$/],
    [`/${'x'.repeat(107)}`, /is 108 bytes long/, /relative path/],
    [`/${'é'.repeat(54)}`, /is 109 bytes long/, /relative path/],
    ['/run/a\0b', /zero byte/, /path of a QMP socket/],
  ]
  for (const [text, message, hint] of cases) {
    const error = t.throws(() => parseMonitorAddress(text), { instanceOf: TapferryError, message }, text)
    t.is(error.code, 'MONITOR_ADDRESS_INVALID', text)
    t.regex(error.hint ?? '', hint, text)
  }
})
