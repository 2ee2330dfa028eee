import svm = require('intel-svm');
import mock = require('intel-svm/mock');

const kernel = mock.createMockKernel({ semantics: 'modern' });
const [device] = kernel.self.devices();
if (device === undefined) throw new Error('the mock has no device');
if (!svm.available(device)) throw new Error('the device is not available');
{
  using binding = device.bind();
  if (!binding.valid) throw new Error('the PASID is not valid');
  console.log(`require: PASID ${binding.pasid}`);
}
if (kernel.counters().openFiles !== 0) throw new Error('a file is left open');
