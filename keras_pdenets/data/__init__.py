"""Real image data: sets of TFDS, folders, arrays, and a sample that needs no download."""

from keras_pdenets.data.pictures import load_pictures as load_pictures
from keras_pdenets.data.pipelines import DataSource as DataSource
from keras_pdenets.data.pipelines import ImageSet as ImageSet
from keras_pdenets.data.pipelines import class_names as class_names
from keras_pdenets.data.pipelines import load_dataset as load_dataset
from keras_pdenets.data.sample import load_sample as load_sample
